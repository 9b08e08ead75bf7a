"""Lines of a PDF's pages as blocks: what is a heading, where a paragraph ends, what repeats on every page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from chatproxy.adapters.documents_pdf_lines import Line
from chatproxy.adapters.documents_pdf_tables import Table
from chatproxy.core.knowledge import Block, BlockKind

_BULLET = re.compile(r"(?:[•◦▪‣∙●○■□–—*·\-]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+(?=\S)")
_CAPTION = re.compile(
    r"(?:table|figure|fig\.|listing|tabelle|tab\.|abbildung|abb\.|tableau|tabla|figura|tabella|таблица|рисунок|表|図|图)"
    r"\s*[\dIVX]+(?:[.\-]\d+)*\s*(?:[:.–—]|$|\s\S)",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(\d{1,2}(?:\.\d{1,2}){0,4})\.?\s+\S")
_PAGE_NUMBER = re.compile(r"^\d+\s+|\s+(?:\d+|[ivxlc]+)$")
_ENDED = re.compile(r"[.!?:;。！？…][\"'”’»)\]]*$")
_LEADER = re.compile(r"(?:\. ?){5,}\s*[\divxlc]*$")  # from a title to its page, in tables of contents
_CONTENTS_SHARE = 0.4  # of a page's lines: it is a table of contents and says nothing that the headings do not
_LARGER = 1.12  # times the body's size: a heading
_LONGEST_HEADING = 160
_APART = 1.2  # times the usual distance of lines: a new paragraph
_MARGIN = 0.1  # of the page's height, at its top and bottom, where what repeats is no text
_LEAST_REPEATED = 3


@dataclass(slots=True)
class PageText:
    """One page as found: `pictures` is what was read from its pictures."""

    number: int
    height: float
    lines: list[Line]
    tables: list[Table]
    pictures: list[Block] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Style:
    """How the document is set: the size of its text, the distance of its lines in sizes, sizes of its headings."""

    size: float
    distance: float
    headings: tuple[float, ...]


Outline = dict[int, list[tuple[str, int]]]  # page number -> keys of the headings that begin there, with their levels


def blocks_of_pages(pages: Sequence[PageText], outline: Outline) -> list[Block]:
    pages = [page for page in pages if not _is_contents(page)]
    repeated, titles = (
        _repeated(pages),
        tuple({key for starts in outline.values() for key, _ in starts if len(key) > 4}),
    )
    for page in pages:
        page.lines = [
            line for line in page.lines if not (_in_margin(line, page) and _is_running(line, repeated, titles))
        ]
        page.lines = [line for line in page.lines if not _LEADER.search(line.text)]
    style = _style(pages)
    words = Counter(word for page in pages for line in page.lines for word in re.findall(r"[\w-]+", line.text.lower()))
    blocks: list[Block] = []
    for page in pages:
        for block in [*_Page(page, style, outline.get(page.number, []), words).blocks(), *page.pictures]:
            if blocks and _goes_on(blocks[-1], block):
                blocks[-1] = replace(blocks[-1], text=f"{blocks[-1].text} {block.text}")
            else:
                blocks.append(block)
    return blocks


def key_of(title: str) -> str:
    """What is left of a heading when spacing, case and signs do not count."""
    return "".join(sign for sign in title.casefold() if sign.isalnum())


def _is_contents(page: PageText) -> bool:
    leaders = sum(1 for line in page.lines if _LEADER.search(line.text))
    return leaders > 4 and leaders >= len(page.lines) * _CONTENTS_SHARE


def _goes_on(last: Block, block: Block) -> bool:
    """Whether a paragraph goes on at the top of the next page."""
    return (
        last.kind == block.kind == "text"
        and last.page != block.page
        and not _ENDED.search(last.text)
        and block.text[:1].islower()
    )


def _shape(line: Line) -> str:
    return re.sub(r"\d+|\b[ivxlc]+\b", "#", line.text.strip())


def _is_running(line: Line, repeated: set[str], titles: tuple[str, ...]) -> bool:
    """Whether a line in the margin is a header or footer: it repeats, or is a title with the page's number."""
    without = _PAGE_NUMBER.sub("", line.text.strip())
    return _shape(line) in repeated or (without != line.text.strip() and key_of(without).endswith(titles))


def _in_margin(line: Line, page: PageText) -> bool:
    return line.bottom > page.height * (1 - _MARGIN) or line.top < page.height * _MARGIN


def _repeated(pages: Sequence[PageText]) -> set[str]:
    """Headers and footers: lines in the margins that stand on many pages, their numbers aside."""
    seen = Counter(shape for page in pages for shape in {_shape(line) for line in page.lines if _in_margin(line, page)})
    # A chapter's running title stands on that chapter's pages only.
    return {shape for shape, count in seen.items() if count >= max(_LEAST_REPEATED, len(pages) * 0.02)}


def _style(pages: Sequence[PageText]) -> Style:
    sizes: Counter[float] = Counter()
    distances: Counter[float] = Counter()
    for page in pages:
        for last, line in zip([None, *page.lines], page.lines, strict=False):
            sizes[line.size] += len(line.text)
            if last and last.size == line.size and 0.5 * line.size < last.base - line.base < 3 * line.size:
                distances[round((last.base - line.base) / line.size, 1)] += 1
    size = sizes.most_common(1)[0][0] if sizes else 10.0
    distance = distances.most_common(1)[0][0] if distances else 1.2
    # A size that is on every page in plenty is a second kind of text.
    whole = sum(sizes.values())
    larger = sorted(
        (each for each, count in sizes.items() if each > size * _LARGER and count < whole * 0.2), reverse=True
    )
    return Style(size, distance, tuple(larger))


class _Page:
    def __init__(self, page: PageText, style: Style, starts: list[tuple[str, int]], words: Counter[str]) -> None:
        self._page, self._style, self._starts, self._words = page, style, list(starts), words

    def blocks(self) -> Iterator[Block]:
        held: list[Line] = []
        kind: BlockKind = "text"
        level = 0
        waiting = list(self._page.tables)
        for line in self._page.lines:
            table = next((each for each in self._page.tables if _inside(line, each)), None)
            if table:
                yield from self._block(kind, level, held)
                held = []
                if table in waiting:
                    waiting.remove(table)
                    yield self._table(table)
                continue
            line_kind, line_level = self._kind(line, held)
            if held and ((line_kind, line_level) != (kind, level) or self._begins(held, line, kind)):
                yield from self._block(kind, level, held)
                held = []
            kind, level = line_kind, line_level
            held.append(line)
        yield from self._block(kind, level, held)
        yield from (self._table(table) for table in waiting)

    def _table(self, table: Table) -> Block:
        return Block("table", "", rows=table.rows, page=self._page.number)

    def _block(self, kind: BlockKind, level: int, lines: list[Line]) -> Iterator[Block]:
        if not lines:
            return
        if kind == "code":
            yield Block("code", _code(lines), page=self._page.number)
        elif kind == "list":
            yield Block("list", "\n".join(self._items(lines)), page=self._page.number)
        else:
            yield Block(kind, self._joined(lines), level=level, page=self._page.number)

    def _kind(self, line: Line, held: list[Line]) -> tuple[BlockKind, int]:
        key = key_of(line.text)
        for at, (start, level) in enumerate(self._starts):
            # The outline's titles may lack the number, and be set in several lines.
            if key and (key == start or (key.endswith(start) and len(start) > 3 and len(key) - len(start) < 12)):
                del self._starts[at]
                return "heading", min(level, 6)
            if key and len(key) > 3 and start.startswith(key) and line.size > self._style.size * _LARGER:
                self._starts[at] = start[len(key) :], level
                return "heading", min(level, 6)
        if line.size > self._style.size * _LARGER and line.size in self._style.headings:
            return "heading", min(6, self._style.headings.index(line.size) + 1)
        if line.fixed:
            return "code", 0
        if _CAPTION.match(line.text) and (not held or self._apart(held[-1], line)) and len(line.text) < 300:
            return "caption", 0
        numbered = _NUMBERED.match(line.text)
        if line.bold and numbered and len(line.text) < 100 and (not held or self._apart(held[-1], line)):
            return "heading", min(6, numbered.group(1).count(".") + 1)
        if _BULLET.match(line.text):
            return "list", 0
        if held and _BULLET.match(held[0].text) and line.left > held[0].left + 2 and not self._apart(held[-1], line):
            return "list", 0
        return "text", 0

    def _apart(self, last: Line, line: Line) -> bool:
        usual = self._style.distance * max(last.size, line.size) * _APART
        return last.base - line.base > usual or line.base > last.base + line.size

    def _begins(self, held: list[Line], line: Line, kind: BlockKind) -> bool:
        """Whether `line` begins a block of its own although it is of the kind of those above."""
        last = held[-1]
        if kind == "heading":
            return last.size != line.size or self._apart(last, line) or len(held[0].text) > _LONGEST_HEADING
        if kind in ("code", "list"):
            return last.base - line.base > 2.5 * self._style.distance * line.size or line.base > last.base + line.size
        if line.base > last.base + line.size:  # the next column
            return bool(_ENDED.search(last.text)) or not line.text[:1].islower()
        if self._apart(last, line):
            return True
        indented = line.left > min(each.left for each in held) + line.size
        return indented and last.left < line.left - line.size * 0.8 and bool(_ENDED.search(last.text))

    def _items(self, lines: list[Line]) -> Iterator[str]:
        item: list[Line] = []
        for line in lines:
            if item and _BULLET.match(line.text):
                yield self._item(item)
                item = []
            item.append(line)
        if item:
            yield self._item(item)

    def _item(self, lines: list[Line]) -> str:
        text = self._joined(lines)
        return re.sub(r"^[•◦▪‣∙●○■□–—*·]\s+", "- ", text)

    def _joined(self, lines: Iterable[Line]) -> str:
        text = ""
        for line in lines:
            if text.endswith("\x02"):
                text = f"{text[:-1]}{self._hyphen(text[:-1], line.text)}{line.text}"
            else:
                text = f"{text} {line.text}" if text else line.text
        return " ".join(text.replace("\x02", "-").split())

    def _hyphen(self, before: str, after: str) -> str:
        """A line's last hyphen stays where the document writes the word with it elsewhere and never without."""
        left, right = re.search(r"[\w-]*$", before), re.match(r"[\w-]*", after)
        first, second = (left.group() if left else "").lower(), (right.group() if right else "").lower()
        if not second[:1].islower():
            return "-"
        return "-" if self._words[f"{first}-{second}"] > self._words[f"{first}{second}"] else ""


def _inside(line: Line, table: Table) -> bool:
    return table.holds((line.left + line.right) / 2, (line.top + line.bottom) / 2)


def _code(lines: Sequence[Line]) -> str:
    """With the indentation that the lines' places give, where they do not have it themselves."""
    left = min(line.left for line in lines)
    widths = [(line.right - line.left) / len(line.text) for line in lines if len(line.text) > 3]
    width = sum(widths) / len(widths) if widths else lines[0].size * 0.6
    return "\n".join(f"{' ' * min(40, round((line.left - left) / width))}{line.text}" for line in lines).replace(
        "\x02", "-"
    )
