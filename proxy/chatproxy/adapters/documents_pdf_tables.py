"""Tables on a PDF's page, by the rules that are drawn around their cells.

A table is found where horizontal rules of one width lie above each other: parted by vertical rules, whose outer ones
may be missing (as LaTeX draws them), or by the gaps between words (as books do). pdfplumber's finder wants closed
cells, so that it drops the outer columns of such tables, and takes a hundred times longer.
"""

from __future__ import annotations

import ctypes
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from chatproxy.adapters.documents_reading import even_rows

_NEAR = 3.0  # points; a point is 1/72 inch
_THIN = 3.0  # a filled rectangle that is no thicker is a rule
_SHORTEST = 8.0
_GAP = 7.0  # between words: more than this parts columns where no rule does
_MOST_PATHS = 20_000
_MOST_RULES = 600
_MOST_COLUMNS = 60


@dataclass(frozen=True, slots=True)
class Rule:
    """A line along x (horizontal, at height y) or along y (vertical, at x): `at` is where, `start` to `end` how far."""

    at: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Word:
    """Words on one line without a wide gap between them, in points from the page's lower left corner."""

    text: str
    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True, slots=True)
class Table:
    left: float
    bottom: float
    right: float
    top: float
    rows: tuple[tuple[str, ...], ...]

    def holds(self, x: float, y: float) -> bool:
        return self.left - _NEAR <= x <= self.right + _NEAR and self.bottom - 1 <= y <= self.top + 1


def tables_on(page: pdfium.PdfPage, words: Sequence[Word]) -> list[Table]:
    """From the top of the page down."""
    horizontal, vertical = _rules(page)
    if len(horizontal) < 2 or len(horizontal) + len(vertical) > _MOST_RULES:
        return []
    found = [_table(group, vertical, words) for group in _stacks(horizontal, vertical)]
    return sorted((table for table in found if table), key=lambda table: -table.top)


def _rules(page: pdfium.PdfPage) -> tuple[list[Rule], list[Rule]]:
    horizontal: list[Rule] = []
    vertical: list[Rule] = []
    for number, path in enumerate(page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=3)):
        if number > _MOST_PATHS:
            return [], []  # a drawing
        for (x0, y0), (x1, y1) in _lines(path):
            if abs(y0 - y1) < 1 and abs(x0 - x1) > _SHORTEST:
                horizontal.append(Rule((y0 + y1) / 2, min(x0, x1), max(x0, x1)))
            elif abs(x0 - x1) < 1 and abs(y0 - y1) > 2:
                vertical.append(Rule((x0 + x1) / 2, min(y0, y1), max(y0, y1)))
    return _joined(horizontal), _joined(vertical)


_Point = tuple[float, float]


def _lines(path: pdfium.PdfObject) -> Iterator[tuple[_Point, _Point]]:
    """The straight lines of a path; a thin filled rectangle is one, a thick one without a stroke is a background."""
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    raw.FPDFPath_GetDrawMode(path.raw, fill, stroke)
    points = list(_points(path))
    if fill.value and not stroke.value:
        xs, ys = [point[0] for point, _ in points], [point[1] for point, _ in points]
        if not points or (max(xs) - min(xs) > _THIN and max(ys) - min(ys) > _THIN):
            return
        if max(xs) - min(xs) > max(ys) - min(ys):
            yield (min(xs), (min(ys) + max(ys)) / 2), (max(xs), (min(ys) + max(ys)) / 2)
        else:
            yield ((min(xs) + max(xs)) / 2, min(ys)), ((min(xs) + max(xs)) / 2, max(ys))
        return
    for (start, _), (end, drawn) in itertools.pairwise(points):
        if drawn:
            yield start, end


def _points(path: pdfium.PdfObject) -> Iterator[tuple[_Point, bool]]:
    """Each point on the page, and whether a line leads to it."""
    matrix = path.get_matrix()
    container = path.container
    while container is not None:
        matrix = matrix.multiply(container.get_matrix())
        container = container.container
    x, y = ctypes.c_float(), ctypes.c_float()
    first: _Point | None = None
    for number in range(min(raw.FPDFPath_CountSegments(path.raw), 400)):
        segment = raw.FPDFPath_GetPathSegment(path.raw, number)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        point = matrix.on_point(x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            first = point
        yield point, kind == raw.FPDF_SEGMENT_LINETO
        if raw.FPDFPathSegment_GetClose(segment) and first:
            yield first, True


def _joined(rules: list[Rule]) -> list[Rule]:
    """Rules that continue or repeat each other as one: many programs draw them cell by cell."""
    joined: list[Rule] = []
    for rule in sorted(rules, key=lambda rule: (round(rule.at / 2), rule.start)):
        last = joined[-1] if joined else None
        if last and abs(last.at - rule.at) < 2 and rule.start <= last.end + _NEAR:
            joined[-1] = Rule(last.at, last.start, max(last.end, rule.end))
        else:
            joined.append(rule)
    return joined


def _stacks(horizontal: list[Rule], vertical: list[Rule]) -> list[list[Rule]]:
    """Horizontal rules that belong to one table: of one extent, or tied together by a vertical rule."""
    stacks: list[list[Rule]] = []
    for rule in sorted(horizontal, key=lambda rule: -rule.at):
        for stack in stacks:
            last = stack[-1]
            alike = abs(last.start - rule.start) < _NEAR and abs(last.end - rule.end) < _NEAR
            if alike or any(_ties(each, last, rule) for each in vertical):
                stack.append(rule)
                break
        else:
            stacks.append([rule])
    return [part for stack in stacks for part in _apart(stack, vertical)]


def _ties(upright: Rule, upper: Rule, lower: Rule) -> bool:
    return (
        upright.start <= lower.at + _NEAR
        and upright.end >= upper.at - _NEAR
        and all(rule.start - _NEAR <= upright.at <= rule.end + _NEAR for rule in (upper, lower))
    )


def _apart(stack: list[Rule], vertical: list[Rule]) -> Iterator[list[Rule]]:
    """A stack parted where vertical rules end: tables of one width below each other are not one table."""
    if not any(_ties(each, upper, lower) for upper, lower in itertools.pairwise(stack) for each in vertical):
        yield stack
        return
    part = stack[:1]
    for upper, lower in itertools.pairwise(stack):
        if not any(_ties(each, upper, lower) for each in vertical):
            yield part
            part = []
        part.append(lower)
    yield part


def _table(stack: list[Rule], vertical: list[Rule], words: Sequence[Word]) -> Table | None:
    if len(stack) < 2:
        return None
    left, right = min(rule.start for rule in stack), max(rule.end for rule in stack)
    top, bottom = stack[0].at, stack[-1].at
    inside = [
        word for word in words
        if left - _NEAR <= (word.left + word.right) / 2 <= right + _NEAR and bottom < (word.top + word.bottom) / 2 < top
    ]  # fmt: skip
    uprights = [rule for rule in vertical if _stands_in(rule, left, right) and _covers(rule, bottom, top)]
    inner = _distinct([rule.at for rule in uprights if left + _NEAR < rule.at < right - _NEAR])
    ruled = bool(inner)
    if not ruled and (len(stack) < 3 or not inside):
        return None  # two rules with text between them are no table
    columns = [left, *(inner or _gaps(inside)), right]
    if not 3 <= len(columns) <= _MOST_COLUMNS:
        return None
    heights = _distinct([rule.at for rule in stack])[::-1]
    rows: list[list[str]] = []
    for upper, lower in itertools.pairwise(heights):
        band = [word for word in inside if lower < (word.top + word.bottom) / 2 < upper]
        # Under a header alone with rules around it, each line is a row.
        rows.extend(
            _by_line(band, columns)
            if len(heights) <= 4 and not (ruled and len(heights) > 3)
            else [_cells(band, columns)]
        )
    even = even_rows(rows)
    if len(even) < 2 or len(even[0]) < 2:
        return None
    return Table(left, bottom, right, top, even)


def _stands_in(upright: Rule, left: float, right: float) -> bool:
    return left - _NEAR <= upright.at <= right + _NEAR


def _covers(upright: Rule, bottom: float, top: float) -> bool:
    return min(upright.end, top) - max(upright.start, bottom) > (top - bottom) * 0.4


def _distinct(values: list[float]) -> list[float]:
    kept: list[float] = []
    for value in sorted(values):
        if not kept or value - kept[-1] > _NEAR:
            kept.append(value)
    return kept


def _gaps(words: list[Word]) -> list[float]:
    """Where columns part: stretches of x that nearly no line of words crosses."""
    spans = sorted((word.left, word.right) for word in words)
    parted: list[float] = []
    reached = spans[0][1]
    for start, end in spans[1:]:
        if start - reached > _GAP:
            parted.append((start + reached) / 2)
        reached = max(reached, end)
    return parted


def _by_line(band: list[Word], columns: list[float]) -> list[list[str]]:
    """A row for each line, but one whose first column is empty continues the row above."""
    rows: list[list[str]] = []
    for line in _lines_of(band):
        cells = _cells(line, columns)
        if rows and not cells[0]:
            rows[-1] = [f"{above} {below}".strip() for above, below in zip(rows[-1], cells, strict=True)]
        else:
            rows.append(cells)
    return rows


def _lines_of(words: list[Word]) -> list[list[Word]]:
    lines: list[list[Word]] = []
    for word in sorted(words, key=lambda word: -(word.top + word.bottom)):
        middle = (word.top + word.bottom) / 2
        if lines and lines[-1][0].bottom <= middle <= lines[-1][0].top:
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def _cells(words: list[Word], columns: list[float]) -> list[str]:
    cells = [""] * (len(columns) - 1)
    for line in _lines_of(words):
        for word in sorted(line, key=lambda word: word.left):
            middle = min(word.left + 2, word.right)
            at = sum(1 for edge in columns[1:-1] if edge <= middle)
            # A line's end inside a word that was parted with a hyphen.
            joined = f"{cells[at]} {word.text}" if cells[at] else word.text
            cells[at] = re.sub(r"(?<=\w)\x02 (?=\w)", "", joined)
    return [cell.replace("\x02", "-") for cell in cells]
