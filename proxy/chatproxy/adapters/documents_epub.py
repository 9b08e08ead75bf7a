"""EPUB: its chapters in the order of its spine. Names: EPUB 3.3, OPF; the container is OCF.

Read directly, as the library for it (EbookLib) is under the AGPL.
"""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from lxml import etree

from chatproxy.adapters.documents_markup import blocks_of, parsed
from chatproxy.adapters.documents_office import opened_zip, xml_of
from chatproxy.adapters.documents_reading import Reading
from chatproxy.adapters.documents_text import decoded
from chatproxy.core.knowledge import Block, Document, DocumentError

_CONTAINER = "META-INF/container.xml"
_PROTECTED = "META-INF/encryption.xml"
# Fonts are scrambled by these two so that they are not used elsewhere; the text stays open.
_FONTS_ONLY = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")
_DC = "{http://purl.org/dc/elements/1.1/}"
_MARKUP = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_LARGEST_CHAPTER = 32 << 20


def read_epub(reading: Reading) -> Document:
    """See documents_child. A book has no pages of its own; anchors are its chapters' own and lead nowhere outside."""
    with opened_zip(reading.path) as archive:
        names = set(archive.namelist())
        if _PROTECTED in names and _is_protected(archive.read(_PROTECTED)):
            raise DocumentError("document_encrypted", "The book is copy-protected (DRM) and cannot be read.")
        found = xml_of(archive.read(_CONTAINER)).xpath("//*[local-name()='rootfile']/@full-path")
        if not found:
            raise DocumentError("document_broken", "The book is damaged: it has no table of its parts.")
        package_name = str(found[0])
        package = xml_of(archive.read(package_name))
        blocks: list[Block] = []
        for name in _spine(package, posixpath.dirname(package_name)):
            if name not in names:
                reading.warn(f"the chapter {posixpath.basename(name)} is missing from the file")
                continue
            if archive.getinfo(name).file_size > _LARGEST_CHAPTER:
                raise DocumentError(
                    "document_too_large", "A chapter of the book is larger than is read. Please split it."
                )
            try:
                blocks.extend(blocks_of(parsed(decoded(archive.read(name))), anchors=False))
            except etree.ParserError:
                continue  # an empty page
    title = " ".join((package.findtext(f".//{_DC}title") or "").split())
    language = (package.findtext(f".//{_DC}language") or "").strip()
    return Document(title or reading.stem, tuple(blocks), language, warnings=tuple(reading.warnings))


def _is_protected(described: bytes) -> bool:
    used = xml_of(described).xpath("//*[local-name()='EncryptionMethod']/@Algorithm")
    return any(str(each).encode() not in _FONTS_ONLY for each in used)


def _spine(package: etree._Element, folder: str) -> list[str]:
    """Paths of the chapters inside the archive, in reading order, without the navigation."""
    items = {
        item.get("id"): item
        for item in package.xpath("//*[local-name()='manifest']/*[local-name()='item']")
        if item.get("media-type") in _MARKUP and "nav" not in item.get("properties", "").split()
    }
    order = package.xpath("//*[local-name()='spine']/*[local-name()='itemref']/@idref")
    chapters = [items[each] for each in order if each in items]
    return [posixpath.normpath(posixpath.join(folder, unquote(each.get("href", "")))) for each in chapters]
