"""The order of turns that a prompt format can write: a model trained on strict alternation answers badly without it.

any          as they are
merged       what one side said twice in a row becomes one turn
alternating  that too; and user first, assistant second, user last: where a side said nothing (the bot's greeting comes
             first, an example ends with an answer) it gets an empty turn, which adds no word that nobody said
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal

from chatproxy.core.types import Role, Turn

Order = Literal["any", "merged", "alternating"]
ORDERS: tuple[Order, ...] = ("any", "merged", "alternating")


def arrange(sections: Iterable[Sequence[Turn]], order: Order) -> list[Turn]:
    """The turns of all sections (example dialogues, then the chat) in `order`; sections are not merged with another."""
    if order == "any":
        return [turn for section in sections for turn in section]
    merged = [turn for section in sections for turn in _merged(section)]
    return merged if order == "merged" else list(_alternating(merged))


def _merged(turns: Sequence[Turn]) -> Iterator[Turn]:
    for role, said in groupby(turns, key=lambda turn: turn.role):
        yield Turn(role, "\n\n".join(turn.text for turn in said))


def _alternating(turns: Iterable[Turn]) -> Iterator[Turn]:
    due: Role = "user"
    for turn in turns:
        if turn.role != due:
            yield Turn(due, "")
        yield turn
        due = "user" if turn.role == "assistant" else "assistant"
    if due == "user":
        yield Turn("user", "")
