"""Whether a file of weights is whole, as far as the file itself tells.

Read by the parser that the koboldcpp image has too: a GGUF file's head names each tensor with its place, so a file that
was cut off is seen. The older kinds tell only what they are.
"""

from __future__ import annotations

from pathlib import Path

from images.koboldcpp.entrypoint import gguf
from scripts.lib.failure import Failure

# GGML, GGMF and GGJT: 32-bit numbers in little endian, so they read backwards. koboldcpp still takes these.
_BEFORE_GGUF = (b"lmgg", b"fmgg", b"tjgg")
_HINT = "it is another file than was meant, or a failed download: download it again"


def check(path: Path) -> None:
    """Failure `model.not_weights` for what is no model at all, `model.damaged` for one that is not whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(4)
        if magic in _BEFORE_GGUF:
            return
        if magic != gguf.MAGIC:
            begins = f"it begins with {magic!r}" if magic else "it is empty"
            fact = f"{path.name} is neither GGUF nor GGML, whatever its name says: {begins}"
            raise Failure("model.not_weights", fact, _HINT)
    try:
        head = gguf.read_head(path)
    except gguf.BrokenFileError as error:
        raise Failure("model.damaged", f"the head of {path.name} cannot be read: {error}", _HINT) from error
    if not head.tensors:
        raise Failure("model.damaged", f"{path.name} has no tensors", _HINT)
    if head.least_size > size:
        fact = f"{path.name} is not whole: it has {size} bytes, and its last tensor ends at {head.least_size}"
        raise Failure("model.damaged", fact, _HINT)
