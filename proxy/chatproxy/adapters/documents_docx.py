"""Word's DOCX: paragraphs by their styles, tables, text boxes, footnotes, pictures.

python-docx opens the package and resolves styles; the body is walked here, because its own walk leaves out text boxes,
tracked insertions and content controls. Names: ECMA-376 part 1, 17.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import docx
from docx.opc.exceptions import PackageNotFoundError
from lxml import etree

from chatproxy.adapters.documents_office import picture_blocks
from chatproxy.adapters.documents_reading import Reading, even_rows
from chatproxy.core.knowledge import Block, Document, DocumentError

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_EMBEDDED = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}embed"
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_CODE = re.compile(r"code|preformatted|source|listing|verbatim", re.IGNORECASE)
_TRANSPARENT = {f"{_W}{name}" for name in ("sdt", "sdtContent", "ins", "smartTag", "customXml", "moveTo")}
_LEFT_OUT = {f"{_W}{name}" for name in ("del", "moveFrom", "pPr", "rPr", "instrText", "fldData")}


def read_docx(reading: Reading) -> Document:
    """See documents_child. Word stores no page numbers; headings are where its citations lead."""
    try:
        opened = docx.Document(str(reading.path))
    except ValueError:
        public = "Word's templates and files with macros are not read. Please save it as DOCX."
        raise DocumentError("document_unsupported", public) from None
    except (PackageNotFoundError, KeyError, etree.XMLSyntaxError):
        raise DocumentError("document_broken", "The Word file is damaged or was not copied as a whole.") from None
    walker = _Walker(opened, reading)
    walker.walk(opened.element.body)
    walker.flush_list()
    walker.footnotes()
    title = (opened.core_properties.title or "").strip() or walker.title or reading.stem
    language = (opened.core_properties.language or "").strip()
    return Document(title, tuple(walker.blocks), language=language, warnings=tuple(reading.warnings))


class _Walker:
    def __init__(self, opened: Any, reading: Reading) -> None:
        self.blocks: list[Block] = []
        self.title = ""
        self._opened, self._reading = opened, reading
        self._styles: dict[str | None, tuple[str, int]] = {}
        self._items: list[str] = []

    def walk(self, parent: Any) -> None:
        for element in parent:
            if element.tag == f"{_W}p":
                self._paragraph(element)
            elif element.tag == f"{_W}tbl":
                self.flush_list()
                rows = even_rows(list(_rows(element)))
                if rows:
                    self.blocks.append(Block("table", "", rows=rows))
                self._pictures(element)
            elif element.tag in _TRANSPARENT:
                self.walk(element)

    def flush_list(self) -> None:
        if self._items:
            self.blocks.append(Block("list", "\n".join(self._items)))
            self._items = []

    def footnotes(self) -> None:
        """Footnotes and endnotes at the end, where a reader of the printed document would look last."""
        for part in self._opened.part.package.iter_parts():
            if str(part.partname) in ("/word/footnotes.xml", "/word/endnotes.xml"):
                parser = etree.XMLParser(resolve_entities=False, no_network=True)
                for note in etree.fromstring(part.blob, parser):
                    text = " ".join(" ".join(_words(note)).split())
                    if text and note.get(f"{_W}type") not in ("separator", "continuationSeparator"):
                        self.blocks.append(Block("text", text))

    def _paragraph(self, paragraph: Any) -> None:
        text = "".join(_words(paragraph)).strip()
        name, level = self._style(paragraph)
        numbered = paragraph.find(f"{_W}pPr/{_W}numPr")
        if text and not level and (numbered is not None or name.startswith("list")):
            depth = numbered.find(f"{_W}ilvl") if numbered is not None else None
            given = depth.get(f"{_W}val", "0") if depth is not None else "0"
            self._items.append(f"{'  ' * min(int(given), 8) if given.isdecimal() else ''}- {' '.join(text.split())}")
        else:
            self.flush_list()
            self._add(text, name, level)
        for box in paragraph.iter(f"{_W}txbxContent"):
            # Word writes each box twice, for itself and for its older versions.
            if not any(above.tag.endswith("}Fallback") for above in box.iterancestors()):
                self.walk(box)
        self._pictures(paragraph)

    def _add(self, text: str, name: str, level: int) -> None:
        if not text:
            return
        if name == "title" and not self.title:
            self.title = text
            self.blocks.append(Block("heading", " ".join(text.split()), level=1))
        elif level:
            self.blocks.append(Block("heading", " ".join(text.split()), level=level))
        elif name == "caption":
            self.blocks.append(Block("caption", text))
        elif _CODE.search(name):
            last = self.blocks[-1] if self.blocks else None
            if last and last.kind == "code":
                self.blocks[-1] = Block("code", f"{last.text}\n{text}")
            else:
                self.blocks.append(Block("code", text))
        elif not name.startswith("toc"):
            self.blocks.append(Block("text", text))

    def _style(self, paragraph: Any) -> tuple[str, int]:
        """The style's English name in small letters, and the outline level that it or the paragraph has; 0 for none."""
        own = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
        given = paragraph.find(f"{_W}pPr/{_W}pStyle")
        style_id = given.get(f"{_W}val") if given is not None else None
        if style_id not in self._styles:
            self._styles[style_id] = self._resolved(style_id)
        name, level = self._styles[style_id]
        return (name, _outline(own)) if own is not None else (name, level)

    def _resolved(self, style_id: str | None) -> tuple[str, int]:
        found = self._opened.styles.element.get_by_id(style_id) if style_id else None
        name = ""
        for _ in range(10):  # styles inherit from each other, in broken files in circles
            if found is None:
                break
            label = (found.name_val or "").lower()
            name = name or label
            heading = _HEADING.match(label)
            if heading:
                return name, min(6, max(1, int(heading.group(1))))
            outline = found.find(f"{_W}pPr/{_W}outlineLvl")
            if outline is not None:
                return name, _outline(outline)
            if label in ("title", "caption") or _CODE.search(label) or label.startswith("list"):
                return label, 0
            found = found.base_style
        return name, 0

    def _pictures(self, element: Any) -> None:
        for shown in element.iter("{http://schemas.openxmlformats.org/drawingml/2006/main}blip"):
            part = self._opened.part.related_parts.get(shown.get(_EMBEDDED))
            if part is not None:
                self.blocks.extend(picture_blocks(self._reading, part.blob, f"picture {self._reading.pictures + 1}"))


def _outline(element: Any) -> int:
    value = element.get(f"{_W}val", "9")
    return min(6, int(value) + 1) if value.isdecimal() and int(value) < 9 else 0


def _words(element: Any) -> Iterator[str]:
    """The text of a paragraph as it shows: tabs and breaks kept, deletions and field codes left out."""
    for child in element:
        if child.tag == f"{_W}t":
            yield child.text or ""
        elif child.tag == f"{_W}tab":
            yield "\t"
        elif child.tag in (f"{_W}br", f"{_W}cr"):
            yield "\n"
        elif child.tag == f"{_W}noBreakHyphen":
            yield "-"
        elif child.tag == f"{_W}p":
            yield " "
            yield from _words(child)
        elif child.tag not in _LEFT_OUT and not str(child.tag).endswith(("}drawing", "}pict", "}AlternateContent")):
            yield from _words(child)


def _rows(table: Any) -> Iterator[list[str]]:
    """Cells that were joined downwards repeat what they say, so that each row says all of it."""
    above: list[str] = []
    for line in table.iterchildren(f"{_W}tr"):
        row: list[str] = []
        for cell in line.iter(f"{_W}tc"):
            if next(cell.iterancestors(f"{_W}tr"), None) is not line:
                continue  # a table within the table: its words are in the cell around it
            text = " ".join(" ".join(_words(cell)).split())
            joined = cell.find(f"{_W}tcPr/{_W}vMerge")
            if joined is not None and joined.get(f"{_W}val") != "restart" and len(row) < len(above):
                text = above[len(row)]
            span = cell.find(f"{_W}tcPr/{_W}gridSpan")
            wide = span.get(f"{_W}val", "1") if span is not None else "1"
            row.extend([text] * (min(int(wide), 60) if wide.isdecimal() else 1))
        above = row
        yield row
