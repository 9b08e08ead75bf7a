"""Excel's XLSX: each sheet a heading, each stretch of rows between empty ones a table, values as they show."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from typing import Any

import openpyxl
from lxml import etree
from openpyxl.utils.exceptions import InvalidFileException

from chatproxy.adapters.documents_reading import Reading, even_rows
from chatproxy.core.knowledge import Block, Document, DocumentError

_MOST_COLUMNS = 512
_MOST_EMPTY = 2000  # rows in a row: beyond them is only formatting
_MOST_CELLS = 4_000_000


def read_xlsx(reading: Reading) -> Document:
    """See documents_child. Formulas by the values that Excel stored with them."""
    try:
        opened = openpyxl.load_workbook(reading.path, read_only=True, data_only=True, keep_links=False)
        blocks = [block for sheet in opened.worksheets for block in _sheet(sheet, reading)]
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, etree.XMLSyntaxError, SyntaxError):
        raise DocumentError("document_broken", "The Excel file is damaged or was not copied as a whole.") from None
    if all(block.kind == "heading" for block in blocks):
        blocks = []
    title = (opened.properties.title or "").strip() or reading.stem
    return Document(title, tuple(blocks), warnings=tuple(reading.warnings))


def _sheet(sheet: Any, reading: Reading) -> Iterator[Block]:
    if sheet.sheet_state != "visible":
        reading.warn(f"the hidden sheet “{sheet.title}” was left out")
        return
    yield Block("heading", sheet.title, level=2)
    sheet.reset_dimensions()  # what a sheet says of its size may be wrong, and openpyxl would stop there
    rows: list[list[str]] = []
    empty = cells = 0
    for line in sheet.iter_rows():
        row = [_shown(cell) for cell in line[:_MOST_COLUMNS]]
        if any(cell.value is not None for cell in line[_MOST_COLUMNS:]):
            reading.warn(f"the columns beyond {_MOST_COLUMNS} of the sheet “{sheet.title}” were left out")
        if any(row):
            while row and not row[-1]:
                row.pop()
            rows.append(row)
            empty = 0
            cells += len(row)
            if cells > _MOST_CELLS:
                raise DocumentError(
                    "document_too_large", f"The sheet “{sheet.title}” has too many cells. Please split it."
                )
            continue
        yield from _blocks(rows)
        rows = []
        empty += 1
        if empty > _MOST_EMPTY:
            break
    yield from _blocks(rows)


def _blocks(rows: list[list[str]]) -> Iterator[Block]:
    """A title above a table has one cell; what has never more than one is text."""
    while rows and sum(map(bool, rows[0])) == 1 and (len(rows) == 1 or max(map(len, rows)) > 1):
        yield Block("caption" if len(rows) > 1 else "text", next(filter(None, rows[0])))
        rows = rows[1:]
    if not rows:
        return
    if max(sum(map(bool, row)) for row in rows) == 1:
        yield Block("list", "\n".join(" ".join(cell.split()) for row in rows for cell in row if cell))
    else:
        yield Block("table", "", rows=even_rows(rows))


def _shown(cell: Any) -> str:
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d") if value.time() == datetime.time() else value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float):
        return _number(value, cell.number_format or "")
    return str(value).strip()


def _number(value: float, written: str) -> str:
    """Without the noise of binary fractions; as a percentage where it is shown as one."""
    if "%" in written:
        return f"{value * 100:.10g}%"
    return f"{value:.15g}"
