"""A stand-in for koboldcpp's source tree, and its flags by version.

`write` makes a tree that the image builds like the real one: a Makefile with the real target and variables that makes
tiny libraries, and a koboldcpp.py that declares the version's real flags and serves the protocol double.
"""

from .flags import VERSIONS, flag_rows, parser_source, table
from .tree import write

__all__ = ["VERSIONS", "flag_rows", "parser_source", "table", "write"]
