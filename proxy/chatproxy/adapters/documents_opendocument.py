"""OpenDocument text, sheets and slides (ODT, ODS, ODP). Names: OASIS OpenDocument 1.3 part 3.

Read directly: odfpy builds a tree of its own objects for every element (ten times the memory), and is no longer kept.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from zipfile import ZipFile

from lxml import etree

from chatproxy.adapters.documents_kind import encrypted
from chatproxy.adapters.documents_office import opened_zip, picture_blocks, xml_of
from chatproxy.adapters.documents_reading import Reading, even_rows
from chatproxy.core.knowledge import Block, Document, DocumentError

_OF = "{urn:oasis:names:tc:opendocument:xmlns:"
_TEXT, _TABLE, _DRAW, _OFFICE = (f"{_OF}{name}:1.0}}" for name in ("text", "table", "drawing", "office"))
_LINK = "{http://www.w3.org/1999/xlink}href"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_LANGUAGE = "{http://purl.org/dc/elements/1.1/}language"
_UNTOLD = {f"{_TEXT}{name}" for name in ("tracked-changes", "table-of-content", "alphabetical-index", "sequence-decls")}
_UNTOLD |= {f"{_OFFICE}annotation", f"{_OFFICE}forms", f"{_TABLE}shapes"}
_MOST_REPEATED = 60
_MOST_CELLS = 4_000_000


def read_opendocument(reading: Reading) -> Document:
    """See documents_child."""
    with opened_zip(reading.path) as archive:
        names = set(archive.namelist())
        if "META-INF/manifest.xml" in names and b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise encrypted()
        root = xml_of(archive.read("content.xml"))
        meta = xml_of(archive.read("meta.xml")) if "meta.xml" in names else None
        body = root.find(f"{_OFFICE}body")
        if body is None:
            raise DocumentError("document_broken", "The file is damaged: it has no text part.")
        walker = _Walker(root, archive, reading)
        walker.walk(body)
    title = (meta.findtext(f".//{_TITLE}") or "").strip() if meta is not None else ""
    language = (meta.findtext(f".//{_LANGUAGE}") or "").strip() if meta is not None else ""
    first = next((block.text for block in walker.blocks if block.kind == "heading"), "")
    return Document(title or first or reading.stem, tuple(walker.blocks), language, warnings=tuple(reading.warnings))


class _Walker:
    def __init__(self, root: etree._Element, archive: ZipFile, reading: Reading) -> None:
        self.blocks: list[Block] = []
        self._archive, self._reading = archive, reading
        self._page: int | None = None
        styled = f"{_OF}style:1.0}}"
        self._parents = {
            style.get(f"{styled}name", ""): style.get(f"{styled}parent-style-name", "")
            for style in root.iter(f"{styled}style")
        }

    def walk(self, parent: etree._Element) -> None:
        for element in parent.iterchildren(tag=etree.Element):
            if element.tag in _UNTOLD:
                continue
            if element.tag == f"{_TEXT}h":
                given = element.get(f"{_TEXT}outline-level", "1")
                self._add("heading", element, min(6, max(1, int(given))) if given.isdecimal() else 1)
            elif element.tag == f"{_TEXT}p":
                self._paragraph(element)
            elif element.tag == f"{_TEXT}list":
                items = list(_items(element))
                if items:
                    self.blocks.append(Block("list", "\n".join(items), page=self._page))
                self._pictures(element)
            elif element.tag == f"{_TABLE}table":
                self._table(element)
            elif element.tag == f"{_DRAW}page":
                self._page = (self._page or 0) + 1
                name = element.get(f"{_DRAW}name") or f"Slide {self._page}"
                self.blocks.append(Block("heading", name, level=2, page=self._page))
                self.walk(element)
            else:
                self.walk(element)
                if element.tag == f"{_DRAW}image":
                    self._picture(element)

    def _add(self, kind: str, element: etree._Element, level: int = 0) -> None:
        text = "".join(_words(element)).strip()
        if not text:
            return
        if kind == "heading":
            self.blocks.append(Block("heading", " ".join(text.split()), level=level, page=self._page))
        elif kind == "caption":
            self.blocks.append(Block("caption", " ".join(text.split()), page=self._page))
        elif kind == "code":
            last = self.blocks[-1] if self.blocks else None
            if last and last.kind == "code":
                self.blocks[-1] = Block("code", f"{last.text}\n{text}", page=last.page)
            else:
                self.blocks.append(Block("code", text, page=self._page))
        else:
            self.blocks.append(Block("text", text, page=self._page))

    def _paragraph(self, element: etree._Element) -> None:
        style = element.get(f"{_TEXT}style-name", "")
        style = (self._parents.get(style) or style).lower()
        if style == "title":
            self._add("heading", element, 1)
        elif style in ("table", "illustration", "caption", "drawing", "figure"):
            self._add("caption", element)
        elif "preformatted" in style or "source" in style:
            self._add("code", element)
        else:
            self._add("text", element)
        for frame in element.iter(f"{_DRAW}frame"):
            self.walk(frame)

    def _table(self, table: etree._Element) -> None:
        spreadsheet = table.getparent() is not None and table.getparent().tag == f"{_OFFICE}spreadsheet"
        if spreadsheet:
            self.blocks.append(Block("heading", table.get(f"{_TABLE}name", ""), level=2))
        for rows in _stretches(table):
            even = even_rows(rows)
            if even:
                self.blocks.append(Block("table", "", rows=even, page=self._page))
        self._pictures(table)

    def _pictures(self, element: etree._Element) -> None:
        for image in element.iter(f"{_DRAW}image"):
            self._picture(image)

    def _picture(self, image: etree._Element) -> None:
        name = posixpath.normpath(image.get(_LINK, ""))
        if name in self._archive.NameToInfo:
            where = f"picture {self._reading.pictures + 1}"
            self.blocks.extend(picture_blocks(self._reading, self._archive.read(name), where, self._page))


def _words(element: etree._Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if child.tag == f"{_TEXT}s":
            given = child.get(f"{_TEXT}c", "1")
            yield " " * (min(int(given), 100) if given.isdecimal() else 1)
        elif child.tag == f"{_TEXT}tab":
            yield "\t"
        elif child.tag == f"{_TEXT}line-break":
            yield "\n"
        elif child.tag == f"{_TEXT}note":
            yield f" [{' '.join(' '.join(_words(part)) for part in child.iterchildren(f'{_TEXT}note-body')).strip()}] "
        elif isinstance(child.tag, str) and child.tag not in _UNTOLD and child.tag != f"{_DRAW}frame":
            yield from _words(child)
            yield "\n" if child.tag == f"{_TEXT}p" else ""
        yield child.tail or ""


def _items(element: etree._Element, indent: str = "") -> Iterator[str]:
    for item in element.iterchildren(f"{_TEXT}list-item", f"{_TEXT}list-header"):
        for child in item:
            if child.tag == f"{_TEXT}list":
                yield from _items(child, f"{indent}  ")
            elif text := " ".join("".join(_words(child)).split()):
                yield f"{indent}- {text}"


def _stretches(table: etree._Element) -> Iterator[list[list[str]]]:
    """Its rows, parted at empty ones. Sheets repeat empty cells and rows a million times; what says nothing is one."""
    rows: list[list[str]] = []
    cells = 0
    for line in table.iter(f"{_TABLE}table-row"):
        if next(line.iterancestors(f"{_TABLE}table"), None) is not table:
            continue
        row: list[str] = []
        for cell in line.iterchildren(f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
            text = " ".join(
                " ".join(_words(part)) for part in cell if isinstance(part.tag, str) and part.tag not in _UNTOLD
            )
            row.extend([" ".join(text.split())] * _repeated(cell, "columns"))
        while row and not row[-1]:
            row.pop()
        if not row:
            if rows:
                yield rows
            rows = []
            continue
        times = _repeated(line, "rows")
        rows.extend([row] * times)
        cells += len(row) * times
        if cells > _MOST_CELLS:
            raise DocumentError("document_too_large", "A sheet has too many cells. Please split it.")
    if rows:
        yield rows


def _repeated(element: etree._Element, what: str) -> int:
    given = element.get(f"{_TABLE}number-{what}-repeated", "1")
    return max(1, min(int(given), _MOST_REPEATED)) if given.isdecimal() and len(given) < 9 else 1
