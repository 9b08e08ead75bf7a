"""What chunks are packed from: blocks as text, parted so that each part fits and still says what it belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from chatproxy.core.knowledge import Block
from chatproxy.core.sentences import finer, sentences

CountTokens = Callable[[Sequence[str]], list[int]]
# Tokenizers make one token of an unknown word however long it is (WordPiece from 100 letters on), so that tokens
# alone would let an embedded picture through as one chunk. Text has 2 to 6 characters a token.
_CHARACTERS_PER_TOKEN = 16
_ESCAPED_PIPE = r"\|"
T = TypeVar("T")


class Counts:
    """Token counts, each text counted once, many at a time."""

    def __init__(self, count_tokens: CountTokens) -> None:
        self._count, self._known = count_tokens, dict[str, int]()

    def learn(self, texts: Iterable[str], room: int) -> None:
        """Count those that are not yet known, in one call, but none that exceeds `room` by its length alone."""
        short = (text for text in texts if not too_long(text, room))
        unknown = [text for text in dict.fromkeys(short) if text not in self._known]
        if unknown:
            self._known.update(zip(unknown, self._count(unknown), strict=True))

    def of(self, text: str) -> int:
        if text not in self._known:
            self._known[text] = self._count([text])[0]
        return self._known[text]

    def about(self, text: str, room: int) -> int:
        """Tokens; of a text that exceeds `room` by its length alone some number above `room`."""
        return -(-len(text) // _CHARACTERS_PER_TOKEN) if too_long(text, room) else self.of(text)

    def exceed(self, text: str, room: int) -> bool:
        return self.about(text, room) > room


def too_long(text: str, room: int) -> bool:
    """Whether a text exceeds `room` tokens by its length alone: then nobody need count it."""
    return len(text) > room * _CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class Part:
    """`atoms` that may be parted from each other, between a head and a tail that are repeated around each stretch."""

    atoms: tuple[str, ...]
    joiner: str = ""
    head: str = ""
    tail: str = ""
    page: int | None = None
    anchor: str = ""

    @property
    def text(self) -> str:
        return f"{self.head}{self.joiner.join(self.atoms)}{self.tail}"


def parts_of(block: Block, caption: Block | None, room: int, counts: Counts) -> list[Part]:
    """A block with text as parts of at most `room` tokens; `caption` is the one that stands directly above a table."""
    if block.kind == "table":
        return fitting(_table(block, caption, room, counts), room, counts)
    return fitting([_plain(block)], room, counts)


def text_of(block: Block) -> str:
    """A whole block as it stands in a chunk."""
    return _whole_table(block) if block.kind == "table" else _plain(block).text


def _plain(block: Block) -> Part:
    part = Part((block.text.strip(),), page=block.page, anchor=block.anchor)
    if block.kind == "heading":
        return replace(part, head=f"{'#' * min(max(block.level, 1), 6)} ")
    if block.kind == "code":
        code = block.text.strip("\n")
        longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
        fence = "`" * (longest + 1)
        return replace(part, atoms=tuple(code.split("\n")), joiner="\n", head=f"{fence}\n", tail=f"\n{fence}")
    if block.kind == "list":
        return replace(part, atoms=tuple(block.text.strip().split("\n")), joiner="\n")
    return replace(part, atoms=tuple(sentences(block.text.strip())))


def _table(block: Block, caption: Block | None, room: int, counts: Counts) -> list[Part]:
    """Rows under their header; a row that does not fit under it as lines of `name: value`."""
    above = "".join(f"{each.text.strip()}\n" for each in (caption, block) if each and each.text.strip())
    header, *rows = _even(block.rows)
    names = _line(header)
    head = f"{above}{names}\n{_line(['---'] * len(header))}"
    first = replace(_plain(caption or block), page=block.page, anchor=(caption and caption.anchor) or block.anchor)
    lines = [_line(row) for row in rows]
    counts.learn([above, head, *lines], room)
    parts: list[Part] = []
    if above and counts.exceed(head, room // 2):
        parts.append(replace(first, atoms=tuple(sentences(above.strip()))))
        head = head.removeprefix(above)
    bare = counts.exceed(head, room // 2)
    repeated = 0 if bare else counts.of(head)
    named = False  # whether the header has been said: it comes before all rows, also before those without it
    under: list[str] = []
    for row, line in zip(rows, lines, strict=True):
        if not bare and not counts.exceed(line, room - repeated):
            under.append(line)
            continue
        if under or not named:
            parts.append(
                _rows_under(head, under, first) if under else replace(first, atoms=tuple(header), joiner=" | ")
            )
        under, named = [], True
        parts.append(replace(first, atoms=_record(header, row), joiner="\n"))
    if under or not rows:
        parts.append(_rows_under(head, under, first))
    return parts


def _rows_under(head: str, lines: list[str], like: Part) -> Part:
    if not lines:
        return replace(like, atoms=tuple(head.splitlines()), joiner="\n")
    return replace(like, atoms=tuple(lines), joiner="\n", head=f"{head}\n")


def _whole_table(block: Block) -> str:
    header, *rows = _even(block.rows)
    return "\n".join([_line(header), _line(["---"] * len(header)), *map(_line, rows)])


def _even(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The header and every row that says something, all of one width, each cell on one line."""
    width = max(map(len, rows))
    even = [[" ".join(cell.split()) for cell in row] + [""] * (width - len(row)) for row in rows]
    return [even[0], *(row for row in even[1:] if any(row))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', _ESCAPED_PIPE) for cell in cells)} |"


def _record(header: Sequence[str], row: Sequence[str]) -> tuple[str, ...]:
    pairs = zip(header, row, strict=True)
    return tuple(f"{name}: {value}" if name else value for name, value in pairs if value)


def fitting(parts: Sequence[Part], room: int, counts: Counts) -> list[Part]:
    """The same text in parts of at most `room` tokens each, as few and even as a look ahead of one part allows."""
    done = list(parts)
    while True:
        counts.learn((part.text for part in done), room)
        over = {at for at, part in enumerate(done) if counts.exceed(part.text, room)}
        if not over:
            return done
        counts.learn((atom for at in over for atom in done[at].atoms), room)
        parted = [_parted(part, room, counts) if at in over else [part] for at, part in enumerate(done)]
        if all(pieces == [done[at]] for at, pieces in enumerate(parted)):
            return done  # One character that is larger than the room: nothing can be done about it.
        done = [piece for pieces in parted for piece in pieces if piece.text.strip()]


def _parted(part: Part, room: int, counts: Counts) -> list[Part]:
    if len(part.atoms) == 1:
        (atom,) = part.atoms
        pieces = finer(atom)
        if len(pieces) > 1:
            return _parted(replace(part, atoms=tuple(pieces), joiner=""), room, counts)
        if part.head.strip() and atom:
            return [replace(part, atoms=(part.head,), head="", tail=""), replace(part, head="", tail="")]
        return [part]
    around = counts.about(f"{part.head}{part.tail}", room) if part.head or part.tail else 0
    if around > room // 2 and part.head.strip():
        # What is repeated would leave no room for what it belongs to.
        return [
            replace(part, atoms=tuple(finer(part.head)), joiner="", head="", tail=""),
            replace(part, head="", tail=""),
        ]
    counts.learn(part.atoms, room)
    groups = packed(part.atoms, lambda atom: counts.about(atom, room) + (part.joiner != ""), room - around)
    if len(groups) == 1:  # The whole is larger than the sum of its atoms.
        middle = len(part.atoms) // 2
        groups = [part.atoms[:middle], part.atoms[middle:]]
    return [replace(part, atoms=tuple(group)) for group in groups]


def packed(items: Sequence[T], size: Callable[[T], int], room: int) -> list[Sequence[T]]:
    """Neighbours in groups of at most `room`, about equally large; what is larger than it stands alone."""
    sizes = [size(item) for item in items]
    wanted = sum(sizes) / max(1, -(-sum(sizes) // max(1, room)))
    groups: list[Sequence[T]] = []
    start, held = 0, 0
    for at, each in enumerate(sizes):
        if at > start and (held + each > room or held >= wanted):
            groups.append(items[start:at])
            start, held = at, 0
        held += each
    return [*groups, items[start:]]
