"""Which kind of document a file is: by its bytes where they tell, else by media type and name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from chatproxy.core.knowledge import DocumentError

Kind = Literal["pdf", "docx", "pptx", "xlsx", "opendocument", "epub", "html", "markdown", "csv", "text", "image"]
_HEAD = 8192
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*")
_UTF_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x00\x00\xfe\xff")
# The main part that each of Office's formats must have (ECMA-376 part 1, 11.3.10, 12.3.23, 13.3.6).
_OFFICE: dict[str, Kind] = {"word/": "docx", "ppt/": "pptx", "xl/": "xlsx"}
_BY_TYPE: dict[str, Kind] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
}
_BY_SUFFIX: dict[str, Kind] = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".mkd": "markdown",
    ".csv": "csv",
    ".tsv": "csv",
}
# What a ZIP may come to, unpacked, and how many files it may hold: generous for real documents, which have
# pictures that do not shrink.
_MOST_UNPACKED = 400 << 20
_LARGEST_XML = 160 << 20
_MOST_FILES = 20_000


def kind_of(path: Path, media_type: str, name: str) -> Kind:
    """Raises DocumentError for what is encrypted, a ZIP bomb, or of a kind that is not read."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if _is_pdf(head, media_type, name):
        return "pdf"
    if head.startswith(_ZIP):
        return _kind_of_zip(path)
    if head.startswith(_OLE):
        raise _of_ole(path)
    if _is_image(head):
        return "image"
    if head.startswith(b"{\\rtf"):
        raise _unsupported("RTF files are not read. Please save it as DOCX or PDF.")
    if b"\x00" in head and not head.startswith(_UTF_MARKS):
        raise _unsupported("This kind of file is not read.")
    return _kind_of_text(head, media_type, name)


def _is_pdf(head: bytes, media_type: str, name: str) -> bool:
    """Its mark may stand anywhere in the first kilobyte (ISO 32000-1, annex H.3.4.1), as it may in a text about PDF."""
    named = media_type.startswith("application/pdf") or Path(name).suffix.lower() == ".pdf"
    return head.lstrip().startswith(b"%PDF-") or (named and b"%PDF-" in head[:1024])


def _is_image(head: bytes) -> bool:
    # BMP's mark is two letters that a text may begin with; four bytes behind its size are zero.
    bitmap = head.startswith(b"BM") and head[6:10] == bytes(4)
    return bitmap or head.startswith(_IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _kind_of_text(head: bytes, media_type: str, name: str) -> Kind:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if start.startswith((b"<!doctype html", b"<html")) or (start.startswith(b"<?xml") and b"<html" in head.lower()):
        return "html"
    if start.startswith((b"<?xml", b"<svg")):
        raise _unsupported("XML files and drawings (SVG) are not read.")
    by_suffix = _BY_SUFFIX.get(Path(name).suffix.lower())
    by_type = _BY_TYPE.get(media_type.split(";")[0].strip().lower())
    # Servers call Markdown and CSV text/plain; nobody names a file .md without meaning it.
    return by_suffix or by_type or "text"


def _kind_of_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            check_sizes(entries)
            names = {entry.filename for entry in entries}
            if "[Content_Types].xml" in names:
                for folder, kind in _OFFICE.items():
                    if any(each.startswith(folder) for each in names):
                        return kind
            if "mimetype" in names:
                with archive.open("mimetype") as file:
                    declared = file.read(200).decode("ascii", "replace").strip()
                if declared == "application/epub+zip":
                    return "epub"
                if declared.startswith("application/vnd.oasis.opendocument."):
                    return "opendocument"
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError):
        raise DocumentError("document_broken", "The file is damaged or was not copied as a whole.") from None
    raise _unsupported("ZIP archives are not read. Please add the files in it one by one.")


def check_sizes(entries: list[zipfile.ZipInfo]) -> None:
    """Refuses ZIP bombs by what they declare. Those that lie end at the memory limit or at a wrong checksum."""
    if any(entry.flag_bits & 1 for entry in entries):
        raise encrypted()
    xml = max((entry.file_size for entry in entries if entry.filename.endswith((".xml", ".xhtml", ".html"))), default=0)
    if len(entries) > _MOST_FILES or sum(entry.file_size for entry in entries) > _MOST_UNPACKED or xml > _LARGEST_XML:
        raise DocumentError("document_too_large", "The file unpacks to more than is read. Please split it.")


def encrypted() -> DocumentError:
    return DocumentError("document_encrypted", "The file is protected by a password. Please save it without one.")


def _of_ole(path: Path) -> DocumentError:
    """Office's old container: also what a new document is wrapped in when it has a password (MS-OFFCRYPTO 2.3)."""
    with path.open("rb") as file:
        if "EncryptedPackage".encode("utf-16-le") in file.read(4 << 20):
            return encrypted()
    return _unsupported("Office's formats from before 2007 are not read. Please save it as DOCX, XLSX, PPTX or PDF.")


def _unsupported(public: str) -> DocumentError:
    return DocumentError("document_unsupported", public)
