"""The text of a PDF's page as lines: what they say, where they stand, how large and in what kind of letters."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from chatproxy.adapters.documents_pdf_tables import Word

_GAP_IN_LETTERS = 1.2  # a gap of more than this many letters' heights stands between columns
_MONOSPACED = re.compile(r"mono|courier|consol|typewriter|menlo|cmtt|lettergothic", re.IGNORECASE)
_BOLD = re.compile(r"bold|black|heavy|semibold|demi", re.IGNORECASE)
_FIXED_PITCH = 1  # ISO 32000-1, table 123
_HYPHEN = "\x02"
_LINE_ENDS = ("\r", "\n", _HYPHEN)


@dataclass(frozen=True, slots=True)
class Line:
    """Points from the page's lower left corner; `base` is what the letters stand on, `size` their height as set.

    \\x02 at the end is a hyphen that parts a word.
    """

    text: str
    left: float
    bottom: float
    right: float
    top: float
    base: float
    size: float
    bold: bool
    fixed: bool
    words: tuple[Word, ...]


def lines_of(text_page: pdfium.PdfTextPage) -> list[Line]:
    """In the order in which they were written, which is how programs that set text mean it to be read."""
    signs = _signs(text_page)
    lines, start = [], 0
    for at, sign in enumerate([*signs, "\n"]):
        # pdfium does not end a line behind a hyphen that parts a word.
        stop = at + (sign == _HYPHEN)
        if sign in _LINE_ENDS:
            if stop > start and (line := _line(text_page, signs, start, stop)):
                lines.append(line)
            start = at + 1
    return _rejoined(lines)


def _signs(text_page: pdfium.PdfTextPage) -> list[str]:
    """One for each of pdfium's characters; of two that stand for one beyond 16 bits the second is empty."""
    signs: list[str] = []
    high = 0
    for at in range(text_page.count_chars()):
        number = raw.FPDFText_GetUnicode(text_page.raw, at)
        sign = "" if not number or 0xD800 <= number < 0xE000 else chr(number)
        if high and 0xDC00 <= number < 0xE000:
            signs[-1] = chr(0x10000 + ((high - 0xD800) << 10) + number - 0xDC00)
        high = number if 0xD800 <= number < 0xDC00 else 0
        # pdfium's own marks: 0xFFFE for a hyphen, 2 for one at a line's end.
        signs.append(_HYPHEN if number == 0xFFFE else sign)
    return signs


def _line(text_page: pdfium.PdfTextPage, signs: list[str], start: int, end: int) -> Line | None:
    text = "".join(signs[start:end])
    shown = [at for at in range(start, end) if signs[at].strip()]
    if not shown:
        return None
    boxes = {at: box for at in shown if (box := _box(text_page, at))}
    if not boxes:
        return None
    middle = shown[len(shown) // 2]
    size = max(_size(text_page, at) for at in (shown[0], middle))
    bold, fixed = _look(text_page, middle)
    first_bold, first_fixed = _look(text_page, shown[0])
    return Line(
        text.strip(" "),
        min(box[0] for box in boxes.values()),
        min(box[1] for box in boxes.values()),
        max(box[2] for box in boxes.values()),
        max(box[3] for box in boxes.values()),
        _base(text_page, shown[0]),
        round(size, 1),
        bold and first_bold,
        fixed and first_fixed and _look(text_page, shown[-1])[1],
        tuple(_words(signs, start, end, boxes, size)),
    )


def _box(text_page: pdfium.PdfTextPage, at: int) -> tuple[float, float, float, float] | None:
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    if not raw.FPDFText_GetCharBox(text_page.raw, at, left, right, bottom, top):
        return None
    return left.value, bottom.value, right.value, top.value


def _base(text_page: pdfium.PdfTextPage, at: int) -> float:
    x, y = ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetCharOrigin(text_page.raw, at, x, y)
    return y.value


def _size(text_page: pdfium.PdfTextPage, at: int) -> float:
    """The letters' height as set: the font's size times the scale of its matrix."""
    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(text_page.raw, at, matrix)
    scale = (matrix.b**2 + matrix.d**2) ** 0.5
    return float(raw.FPDFText_GetFontSize(text_page.raw, at)) * (scale or 1.0)


def _look(text_page: pdfium.PdfTextPage, at: int) -> tuple[bool, bool]:
    """Whether a letter is bold, whether all of its font are of one width."""
    flags, name = ctypes.c_int(), ctypes.create_string_buffer(128)
    raw.FPDFText_GetFontInfo(text_page.raw, at, name, len(name), flags)
    said = name.value.decode("latin-1")
    heavy = raw.FPDFText_GetFontWeight(text_page.raw, at) >= 600
    return heavy or bool(_BOLD.search(said)), bool(flags.value & _FIXED_PITCH) or bool(_MONOSPACED.search(said))


def _words(
    signs: list[str], start: int, end: int, boxes: dict[int, tuple[float, float, float, float]], size: float
) -> Iterator[Word]:
    """The line in stretches between wide gaps."""
    held: list[int] = []
    for at in range(start, end):
        if at not in boxes:
            if held:
                held.append(at)
            continue
        reached = max((boxes[each][2] for each in held if each in boxes), default=None)
        if reached is not None and (boxes[at][0] - reached > size * 0.7 or boxes[at][2] < reached - size * 2):
            yield _word(signs, held, boxes)
            held = []
        held.append(at)
    if held:
        yield _word(signs, held, boxes)


def _word(signs: list[str], held: list[int], boxes: dict[int, tuple[float, float, float, float]]) -> Word:
    own = [boxes[at] for at in held if at in boxes]
    return Word(
        "".join(signs[at] for at in held).strip(),
        min(box[0] for box in own),
        min(box[1] for box in own),
        max(box[2] for box in own),
        max(box[3] for box in own),
    )


def _rejoined(lines: list[Line]) -> list[Line]:
    """Lines that stand side by side in one row of text as one: pdfium parts them where the font changes height."""
    joined: list[Line] = []
    for line in lines:
        last = joined[-1] if joined else None
        if last and _continues(last, line):
            joined[-1] = Line(
                f"{last.text}{'' if last.text.endswith(_HYPHEN) else ' '}{line.text}",
                last.left,
                min(last.bottom, line.bottom),
                line.right,
                max(last.top, line.top),
                last.base,
                last.size if len(last.text) >= len(line.text) else line.size,
                last.bold and line.bold,
                last.fixed and line.fixed,
                last.words + line.words,
            )
        else:
            joined.append(line)
    return joined


def _continues(last: Line, line: Line) -> bool:
    overlap = min(last.top, line.top) - max(last.bottom, line.bottom)
    height = min(last.top - last.bottom, line.top - line.bottom)
    return overlap > height * 0.5 and 0 <= line.left - last.right < max(last.size, line.size) * _GAP_IN_LETTERS
