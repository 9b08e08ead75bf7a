"""PowerPoint's PPTX: a slide is a page with its title as heading; tables, notes and pictures along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree
from pptx import Presentation
from pptx.enum.shapes import MSO_SHAPE_TYPE
from pptx.exc import PackageNotFoundError

from chatproxy.adapters.documents_office import picture_blocks
from chatproxy.adapters.documents_reading import Reading, even_rows
from chatproxy.core.knowledge import Block, Document, DocumentError

_DEEPEST_GROUP = 20


def read_pptx(reading: Reading) -> Document:
    """See documents_child. Shapes are read from the top down and from left to right, as eyes do."""
    try:
        opened = Presentation(str(reading.path))
        slides = list(opened.slides)
    except (PackageNotFoundError, KeyError, ValueError, etree.XMLSyntaxError):
        raise DocumentError("document_broken", "The PowerPoint file is damaged or was not copied as a whole.") from None
    blocks: list[Block] = []
    for number, slide in enumerate(slides, 1):
        title = slide.shapes.title
        named = " ".join(title.text_frame.text.split()) if title is not None else ""
        blocks.append(Block("heading", named or f"Slide {number}", level=2, page=number))
        for shape in _in_order(slide.shapes):
            if title is None or shape.shape_id != title.shape_id:
                blocks.extend(_shape(shape, reading, number))
        if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None:
            blocks.extend(_paragraphs(frame, number, "Notes: "))
    if all(block.kind == "heading" and block.text == f"Slide {block.page}" for block in blocks):
        blocks = []
    declared = (opened.core_properties.title or "").strip()
    title_text = declared if declared and "powerpoint" not in declared.lower() else ""
    first = next((block.text for block in blocks if not block.text.startswith("Slide ")), "")
    return Document(title_text or first or reading.stem, tuple(blocks), warnings=tuple(reading.warnings))


def _in_order(shapes: Any, depth: int = 0) -> Iterator[Any]:
    placed = sorted(shapes, key=lambda shape: ((shape.top or 0) // 200_000, shape.left or 0))  # EMU: rows of 5 mm
    for shape in placed:
        if shape.shape_type == MSO_SHAPE_TYPE.GROUP and depth < _DEEPEST_GROUP:
            yield from _in_order(shape.shapes, depth + 1)
        else:
            yield shape


def _shape(shape: Any, reading: Reading, page: int) -> list[Block]:
    if shape.has_text_frame:
        return list(_paragraphs(shape.text_frame, page))
    if getattr(shape, "has_table", False):
        rows = even_rows([[cell.text for cell in row.cells] for row in shape.table.rows])
        return [Block("table", "", rows=rows, page=page)] if rows else []
    if getattr(shape, "has_chart", False):
        return _chart(shape.chart, page)
    if shape.shape_type == MSO_SHAPE_TYPE.PICTURE:
        try:
            content = shape.image.blob
        except (ValueError, KeyError, AttributeError):
            return []  # linked, or gone
        return picture_blocks(reading, content, f"slide {page}", page)
    return []


def _paragraphs(frame: Any, page: int, before: str = "") -> Iterator[Block]:
    """A frame of one paragraph as text, of several as a list."""
    said = [(each.level, " ".join(each.text.split())) for each in frame.paragraphs]
    said = [(level, text) for level, text in said if text]
    if len(said) == 1 or before:
        text = "\n".join(text for _, text in said)
        if text:
            yield Block("text", f"{before}{text}", page=page)
    elif said:
        yield Block("list", "\n".join(f"{'  ' * level}- {text}" for level, text in said), page=page)


def _chart(chart: Any, page: int) -> list[Block]:
    """The numbers behind a chart, a row for each category."""
    blocks = []
    if chart.has_title and chart.chart_title.has_text_frame:
        blocks.append(Block("caption", " ".join(chart.chart_title.text_frame.text.split()), page=page))
    for plot in chart.plots:
        series = list(plot.series)
        header = ["", *(str(each.name) for each in series)]
        values = zip(plot.categories, *(each.values for each in series), strict=False)
        rows = [[str(name), *("" if value is None else f"{value:g}" for value in each)] for name, *each in values]
        if rows:
            blocks.append(Block("table", "", rows=even_rows([header, *rows]), page=page))
    return blocks
