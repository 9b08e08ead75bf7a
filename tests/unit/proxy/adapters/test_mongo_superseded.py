"""Which places of a conversation are hidden."""

from __future__ import annotations

import random

import pytest

from chatproxy.adapters.mongo_superseded import Entry, awaited, hidden, is_hidden, settled, shown


def cut(first: int, end: int) -> Entry:
    return {"first": first, "end": end}


def by(first: int, message: str) -> Entry:
    return {"first": first, "by": message}


@pytest.mark.parametrize(
    ("entries", "ranges"),
    [
        ([], []),
        ([cut(2, 4)], [(2, 4)]),
        ([cut(5, 6), cut(6, 7)], [(5, 7)]),
        ([cut(8, 9), cut(2, 4)], [(2, 4), (8, 9)]),
        ([cut(8, 12), cut(2, 20)], [(2, 20)]),
        ([cut(2, 20), cut(8, 12)], [(2, 20)]),
        ([by(2, "a")], [(2, 6)]),
        ([by(2, "a"), by(2, "a")], [(2, 6)]),
        ([by(2, "never came")], []),
        ([by(3, "never came"), cut(0, 1), by(2, "a"), by(4, "b")], [(0, 1), (2, 8)]),
    ],
)
def test_ranges_are_joined_and_a_message_that_is_not_there_hides_nothing(
    entries: list[Entry], ranges: list[tuple[int, int]]
) -> None:
    places = {"a": 6, "b": 8}
    assert hidden(entries, places) == ranges
    short = settled(entries, places)
    assert hidden(short, {}) == ranges
    assert awaited(short) == [name for name in awaited(entries) if name not in places]


def test_shown_is_all_that_is_not_hidden() -> None:
    chosen = random.Random(3)
    for _ in range(500):
        entries = []
        for _ in range(chosen.randrange(6)):
            first = chosen.randrange(30)
            entries.append(cut(first, first + 1 + chosen.randrange(8)))
        ranges = hidden(entries, {})
        begin, end = chosen.randrange(30), chosen.randrange(45)
        places = [place for first, behind in shown(ranges, begin, end) for place in range(first, behind)]
        assert places == [place for place in range(begin, end) if not is_hidden(place, ranges)]
        assert all(first < behind for first, behind in shown(ranges, begin, end))
