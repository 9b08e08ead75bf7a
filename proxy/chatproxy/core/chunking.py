"""Documents cut into chunks along their own structure, each small enough for the embedding model to read whole.

Sections stay together and apart: headings of level 1 and 2 part chunks unless both sides are small, smaller sections
share one. Tables keep their header and caption, code its fence, paragraphs their sentences. Nothing is lost and
nothing overlaps but what a table repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chatproxy.core.chunk_parts import Counts, CountTokens, Part, packed, parts_of, text_of
from chatproxy.core.knowledge import Block, Chunk, Document, path_line

# all-MiniLM-L6-v2 reads 256 tokens of a text and drops the rest without a word.
MOST_READ = 256
MOST_TOKENS = 220
_BETWEEN = "\n\n"
_LONGEST_NAME = 120  # characters of one heading in a path
_STRONG_LEVEL = 2


@dataclass(slots=True)
class _Section:
    """Headings that follow each other directly, and what stands below them up to the next heading."""

    path: tuple[str, ...]
    headings: list[Block] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    @property
    def level(self) -> int:
        return min((block.level for block in self.headings), default=1)

    @property
    def anchor(self) -> str:
        return next((block.anchor for block in reversed(self.headings) if block.anchor), "")


@dataclass(slots=True)
class _Draft:
    """A chunk in the making. `whole` where it holds whole sections, so that its neighbours may join it."""

    parts: list[Part]
    path: tuple[str, ...]
    anchor: str
    level: int
    room: int
    whole: bool

    @property
    def text(self) -> str:
        return _BETWEEN.join(part.text for part in self.parts)


def chunk(
    document: Document, count_tokens: CountTokens, most_tokens: int = MOST_TOKENS, most_read: int = MOST_READ
) -> list[Chunk]:
    """The document in chunks of at most `most_tokens`, with their paths at most `most_read` (`Chunk.embedded`).

    `count_tokens` gives the tokens of each of several texts: one call for all that is short, a few for each block that
    must be parted.
    A path that would take more than a quarter of `most_tokens` is shortened. Only a single character that alone comes
    to more than the bound exceeds it.
    """
    counts = Counts(count_tokens)
    sections = list(_sections(document))
    paths = _short_paths([section.path for section in sections], most_tokens // 4, counts)
    texts = (text_of(block) for section in sections for block in (*section.headings, *section.blocks))
    counts.learn(texts, most_tokens)
    drafts: list[_Draft] = []
    for section in sections:
        path = paths[section.path]
        room = max(1, min(most_tokens, most_read - counts.of(path_line(path))))
        drafts.extend(_drafts(section, path, room, counts))
    fitting = _all_fitting(_merged(drafts, counts), counts)
    return [
        Chunk(draft.text, draft.path, draft.anchor, draft.parts[0].page, position, counts.of(draft.text))
        for position, draft in enumerate(fitting)
    ]


def _sections(document: Document) -> Iterator[_Section]:
    title = (document.title,) if document.title.strip() else ()
    open_headings: list[Block] = []
    section = _Section(title)
    for block in document.blocks:
        if not (block.text.strip() or any(cell.strip() for row in block.rows for cell in row)):
            continue
        if block.kind != "heading":
            section.blocks.append(block)
            continue
        if section.blocks:
            yield section
            section = _Section(())
        open_headings = [*(each for each in open_headings if each.level < block.level), block]
        names = [" ".join(each.text.split()) for each in open_headings]
        section.path = (*title, *(names[1:] if title == tuple(names[:1]) else names))
        section.headings.append(block)
    if section.headings or section.blocks:
        yield section


def _short_paths(paths: Sequence[tuple[str, ...]], room: int, counts: Counts) -> dict[tuple[str, ...], tuple[str, ...]]:
    """For each path itself or, where it is longer than `room`, less of it: its ends say most."""
    short = {path: tuple(_clipped(name, _LONGEST_NAME) for name in path) for path in paths}
    for longest in (_LONGEST_NAME, 60, 30, 10, 0):
        counts.learn((path_line(path) for path in short.values()), room)
        for path in [path for path, less in short.items() if counts.exceed(path_line(less), room)]:
            ends = (path[0], path[-1]) if len(path) > 1 else path
            short[path] = tuple(_clipped(name, longest) for name in ends) if longest else ()
    return short


def _clipped(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…"


def _drafts(section: _Section, path: tuple[str, ...], room: int, counts: Counts) -> Iterator[_Draft]:
    heads = [part for block in section.headings for part in parts_of(block, None, room, counts)]
    taken = sum(counts.of(part.text) for part in heads)
    # The first part below the headings leaves room for them, so that they never stand alone.
    with_heads = taken <= room // 2
    body: list[Part] = []
    for block, caption in _captioned(section.blocks):
        left = room - taken if with_heads and not body else room
        body.extend(parts_of(block, caption, left, counts))
    # Headings and the part below them are one piece to the packing.
    pieces = [[*heads, *body[:1]], *([part] for part in body[1:])] if with_heads else [[part] for part in heads + body]
    groups = packed([piece for piece in pieces if piece], lambda piece: _size(piece, counts), room)
    for group in groups:
        parts = [part for piece in group for part in piece]
        anchor = section.anchor if parts[0] in heads else parts[0].anchor or section.anchor
        yield _Draft(parts, path, anchor, section.level, room, whole=len(groups) == 1)


def _captioned(blocks: Sequence[Block]) -> Iterator[tuple[Block, Block | None]]:
    """Each block, a table together with the caption that stands directly above it."""
    caption: Block | None = None
    for block in blocks:
        if caption and block.kind == "table":
            yield block, caption
            caption = None
            continue
        if caption:
            yield caption, None
        caption = block if block.kind == "caption" else None
        if not caption:
            yield block, None
    if caption:
        yield caption, None


def _size(parts: Sequence[Part], counts: Counts) -> int:
    return sum(counts.of(part.text) for part in parts)


def _merged(drafts: Sequence[_Draft], counts: Counts) -> list[_Draft]:
    """Small neighbouring sections in one chunk, which has the place of the first of them."""
    merged: list[_Draft] = []
    for draft in drafts:
        last = merged[-1] if merged else None
        if last and _may_join(last, draft, counts):
            last.parts += draft.parts
        else:
            merged.append(draft)
    return merged


def _may_join(left: _Draft, right: _Draft, counts: Counts) -> bool:
    if not (left.whole and right.whole):
        return False
    sizes = _size(left.parts, counts), _size(right.parts, counts)
    if right.level <= _STRONG_LEVEL and max(sizes) > left.room // 3:
        return False
    return sum(sizes) <= left.room


def _all_fitting(drafts: list[_Draft], counts: Counts) -> list[_Draft]:
    """Halves what turned out larger than the sum of its parts."""
    while True:
        counts.learn((draft.text for draft in drafts), max((draft.room for draft in drafts), default=0))
        if not any(_over(draft, counts) for draft in drafts):
            return drafts
        drafts = [half for draft in drafts for half in (_halves(draft) if _over(draft, counts) else [draft])]


def _over(draft: _Draft, counts: Counts) -> bool:
    return len(draft.parts) > 1 and counts.exceed(draft.text, draft.room)


def _halves(draft: _Draft) -> list[_Draft]:
    middle = len(draft.parts) // 2
    return [
        _Draft(parts, draft.path, parts[0].anchor or draft.anchor, draft.level, draft.room, whole=False)
        for parts in (draft.parts[:middle], draft.parts[middle:])
    ]
