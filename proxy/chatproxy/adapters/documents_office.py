"""What the readers of Office's and OpenDocument's files share: parsing parts of a ZIP without their traps."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lxml import etree

from chatproxy.adapters.documents_ocr import greys_of, read_picture
from chatproxy.adapters.documents_reading import Reading
from chatproxy.core.knowledge import Block, DocumentError

_LARGEST_PICTURE = 40 << 20
_SMALLEST_PICTURE = 4096  # bytes; smaller ones are icons
_MOST_PICTURES = 200


def xml_of(content: bytes) -> etree._Element:
    """Its root. Entities stay unresolved and documents elsewhere unread; libxml2 bounds depth and text by itself.

    Raises DocumentError.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(content, parser)
    except etree.XMLSyntaxError:
        raise DocumentError("document_broken", "The file is damaged: a part of it is not valid XML.") from None


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Raises DocumentError where the archive or what is read of it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, OSError):
        raise DocumentError("document_broken", "The file is damaged or was not copied as a whole.") from None


def picture_blocks(reading: Reading, content: bytes, where: str, page: int | None = None) -> list[Block]:
    """What a picture inside a document says; nothing for icons and for kinds that are no pictures of dots."""
    if not _SMALLEST_PICTURE <= len(content) <= _LARGEST_PICTURE:
        return []
    if reading.pictures >= _MOST_PICTURES or reading.seconds_for_pictures() <= 0:
        reading.warn(f"pictures from {where} on were not read: there are too many of them")
        return []
    reading.pictures += 1
    picture = greys_of(io.BytesIO(content))
    if picture is None:
        return []
    return [Block("text", text, page=page) for text in read_picture(reading, picture, where)]
