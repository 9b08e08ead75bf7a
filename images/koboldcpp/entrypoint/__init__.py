"""Starts koboldcpp from the environment that every engine image takes.

In the image it runs as ``python3 -m entrypoint`` (``--print`` shows the command line and starts nothing). What the
installed koboldcpp understands is not guessed from its version: `describe` reads it from koboldcpp.py when the image
is built, so an operator's own source is treated as exactly as a pinned one.
"""
