"""PDF files by way of pdfium: text, tables, headings, and what their pictures say."""

from __future__ import annotations

from collections.abc import Iterator

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from chatproxy.adapters.documents_kind import encrypted
from chatproxy.adapters.documents_ocr import Greys, read_picture
from chatproxy.adapters.documents_pdf_blocks import Outline, PageText, blocks_of_pages, key_of
from chatproxy.adapters.documents_pdf_lines import lines_of
from chatproxy.adapters.documents_pdf_tables import tables_on
from chatproxy.adapters.documents_reading import Reading
from chatproxy.core.knowledge import Block, Document, DocumentError

_DOTS_PER_POINT = 300 / 72  # what tesseract reads best
_MOST_DOTS = 12_000_000
_LEAST_LETTERS = 20  # a page with fewer is a picture, if it has one
_LEAST_FIGURE = (100.0, 40.0)  # points; smaller ones are logos and bullets
_SHARE_OF_SCAN = 0.5
_MOST_FIGURES = 200
_MOST_OUTLINE = 5000
_Box = tuple[float, float, float, float]


def read_pdf(reading: Reading) -> Document:
    """See documents_child. A file protected against reading is refused; one that only asks not to be printed is not."""
    try:
        opened = pdfium.PdfDocument(reading.path)
        count = len(opened)
    except pdfium.PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise encrypted() from None
        raise DocumentError("document_broken", "The PDF is damaged or was not copied as a whole.") from None
    if not count:
        raise DocumentError("document_broken", "The PDF has no pages that can be read.")
    pages: list[PageText] = []
    figures = 0
    for number in range(1, count + 1):
        try:
            page = opened[number - 1]
        except pdfium.PdfiumError:
            reading.warn(f"page {number} is damaged and was left out")
            continue
        found = _read_page(page, number)
        if figures < _MOST_FIGURES:
            figures += _read_pictures(reading, page, found)
        page.close()
        pages.append(found)
    blocks = blocks_of_pages(pages, _outline(opened))
    title = (opened.get_metadata_value("Title") or "").strip()
    return Document(_title(title, blocks, reading), tuple(blocks), warnings=tuple(reading.warnings))


def _title(declared: str, blocks: list[Block], reading: Reading) -> str:
    """What the file says of itself, unless that is what a program put there; else its first heading, else its name."""
    programs = ("untitled", "microsoft word", "powerpoint", "document", ".doc", ".tex", ".indd", "(anonymous)")
    if declared and not any(word in declared.lower() for word in programs):
        return declared
    first = next((block for block in blocks if block.kind == "heading" and block.page == 1), None)
    return first.text if first else reading.stem


def _read_page(page: pdfium.PdfPage, number: int) -> PageText:
    text_page = page.get_textpage()
    lines = lines_of(text_page)
    text_page.close()
    tables = tables_on(page, [word for line in lines for word in line.words])
    return PageText(number, page.get_height(), lines, tables)


def _read_pictures(reading: Reading, page: pdfium.PdfPage, found: PageText) -> int:
    """Reads the page's picture, or its figures, into `found`; returns how many were read."""
    boxes = list(_figures(page))
    if not boxes:
        return 0
    whole = page.get_width() * page.get_height() or 1.0
    letters = sum(len(line.text) for line in found.lines)
    scanned = max((right - left) * (top - bottom) for left, bottom, right, top in boxes) > whole * _SHARE_OF_SCAN
    if scanned:
        if letters >= _LEAST_LETTERS:
            return 0  # a scan that has its text behind it, or a background
        boxes = [(0.0, 0.0, page.get_width(), page.get_height())]
    for box in boxes:
        if reading.seconds_for_pictures() <= 0:
            reading.warn(f"pictures from page {found.number} on were not read: there are too many of them")
            return _MOST_FIGURES
        for text in read_picture(reading, _greys(page, box), f"page {found.number}"):
            found.pictures.append(Block("text", text, page=found.number))
    return len(boxes)


def _figures(page: pdfium.PdfPage) -> Iterator[_Box]:
    width, height = page.get_width(), page.get_height()
    for number, image in enumerate(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3)):
        if number >= 50:
            return
        left, bottom, right, top = image.get_bounds()
        box = max(0.0, left), max(0.0, bottom), min(width, right), min(height, top)
        if box[2] - box[0] >= _LEAST_FIGURE[0] and box[3] - box[1] >= _LEAST_FIGURE[1]:
            yield box


def _greys(page: pdfium.PdfPage, box: _Box) -> Greys:
    """A part of the page as it looks, at 300 dots an inch or as many as are sensible."""
    left, bottom, right, top = box
    scale = min(_DOTS_PER_POINT, (_MOST_DOTS / max(1.0, (right - left) * (top - bottom))) ** 0.5)
    crop = (left, bottom, page.get_width() - right, page.get_height() - top)
    bitmap = page.render(scale=scale, crop=crop, grayscale=True)
    try:
        lines = bytes(bitmap.buffer)
        dots = b"".join(lines[at * bitmap.stride : at * bitmap.stride + bitmap.width] for at in range(bitmap.height))
        return Greys(bitmap.width, bitmap.height, dots)
    finally:
        bitmap.close()


def _outline(opened: pdfium.PdfDocument) -> Outline:
    outline: Outline = {}
    try:
        for number, mark in enumerate(opened.get_toc(max_depth=6)):
            if number >= _MOST_OUTLINE:
                break
            target = mark.get_dest()
            page = target.get_index() if target else None
            if page is not None and (key := key_of(mark.get_title())):
                outline.setdefault(page + 1, []).append((key, mark.level + 1))
    except pdfium.PdfiumError:
        return outline  # A broken outline loses levels, no text.
    return outline
