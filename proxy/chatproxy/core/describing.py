"""Pictures described by the engine, where it can see: words in place of what text recognition cannot find.

Around any other Parser. An engine that fails, or is blind, costs the description and never the document.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from chatproxy.core.images import check_unpacked, read_image
from chatproxy.core.knowledge import Block, Document, DocumentError
from chatproxy.core.knowledge_ports import Describer
from chatproxy.core.ports import Parser
from chatproxy.errors import EngineFailure, InvalidRequest

_HEAD = 16
# What both engines decode (stb_image), by the first bytes.
_DESCRIBED = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
_OTHERS = {b"II*\x00": "TIFF", b"MM\x00*": "TIFF", b"RIFF": "WebP"}
# In base64 a third more; koboldcpp takes bodies of 32 MiB.
_LARGEST = 16 << 20


class Described:
    """Implements core.ports.Parser: what `parser` reads, and for a picture file also what `describer` sees."""

    def __init__(self, parser: Parser, describer: Describer) -> None:
        self._parser, self._describer = parser, describer

    def parse(self, path: Path, media_type: str, name: str) -> Document:
        """See core.ports.Parser."""
        with path.open("rb") as file:
            head = file.read(_HEAD)
        kind, left_out = _kind(head), _left_out(head)
        if not kind and not left_out:
            return self._parser.parse(path, media_type, name)
        try:
            document = self._parser.parse(path, media_type, name)
        except DocumentError as error:
            if error.code != "document_empty":
                raise
            document = Document(Path(name).stem, ())
        try:
            if not self._describer.sees():
                return document
            if not kind:
                return _undescribed(document, f"pictures are, if they are PNG, JPEG or GIF, not {left_out}")
            if path.stat().st_size > _LARGEST:
                return _undescribed(document, f"it is larger than {_LARGEST >> 20} MB")
            picture = path.read_bytes()
            check_unpacked([read_image(picture, "the picture")], "the picture")
            caption = self._describer.describe(picture, kind)
        except (EngineFailure, InvalidRequest) as error:
            return _undescribed(document, error.public if isinstance(error, InvalidRequest) else str(error))
        return replace(document, blocks=(*document.blocks, Block("caption", caption, page=1)))


def _undescribed(document: Document, why: str) -> Document:
    """The document with a warning. DocumentError where nothing else is in it: then it is tried again the next time."""
    if not any(block.text.strip() for block in document.blocks):
        raise DocumentError("document_empty", f"There is no text in the picture, and it was not described: {why}.")
    return replace(document, warnings=(*document.warnings, f"it was not described: {why}"))


def _kind(head: bytes) -> str:
    """The media type of a picture that engines read, "" for anything else."""
    return next((kind for mark, kind in _DESCRIBED.items() if head.startswith(mark)), "")


def _left_out(head: bytes) -> str:
    """What a picture is that engines do not read, "" for anything else."""
    if head.startswith(b"RIFF") and head[8:12] != b"WEBP":
        return ""
    return next((kind for mark, kind in _OTHERS.items() if head.startswith(mark)), "")
