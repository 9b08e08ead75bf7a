"""Which messages of a conversation have been superseded by an edited question or a regenerated answer.

A message that supersedes takes a place at the conversation's end and hides the places from `first` up to its own. The
conversation's field `superseded` says so, in two kinds of entries:

    {"first": 4, "by": ID}   from place 4 up to message ID, if that message exists
    {"first": 4, "end": 9}   places 4 to 8

The first kind is written before the message, the second replaces it afterwards. So the insert of the message is the
one moment at which the old version goes and the new one comes: a crash before it leaves the old version as it was, a
crash after it leaves an entry that every reader understands. Hidden is what the conversation says, whenever a message
of that range is inserted: also one that was still on its way when its place was superseded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Entry = dict[str, Any]
Range = tuple[int, int]  # first place, place behind the last


def awaited(entries: Iterable[Entry]) -> list[str]:
    """Ids of the messages whose places `hidden` must know."""
    return [entry["by"] for entry in entries if "by" in entry]


def hidden(entries: Iterable[Entry], places: Mapping[str, int]) -> list[Range]:
    """The superseded ranges, ascending, apart from each other. `places` are those of the awaited messages there are."""
    ranges = []
    for entry in entries:
        end = entry["end"] if "end" in entry else places.get(entry["by"])
        if end is not None:
            ranges.append((entry["first"], end))
    joined: list[Range] = []
    for first, end in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined


def settled(entries: Iterable[Entry], places: Mapping[str, int]) -> list[Entry]:
    """The same in as few entries as possible; those of messages that are not there stay."""
    missing = [entry for entry in entries if "by" in entry and entry["by"] not in places]
    return [*({"first": first, "end": end} for first, end in hidden(entries, places)), *missing]


def is_hidden(place: int, ranges: Sequence[Range]) -> bool:
    """Whether a place is superseded."""
    return any(first <= place < end for first, end in ranges)


def shown(ranges: Sequence[Range], begin: int, end: int) -> Iterator[Range]:
    """What remains of the places from `begin` to before `end`, ascending."""
    for first, behind in ranges:
        if begin < min(first, end):
            yield begin, min(first, end)
        begin = max(begin, behind)
    if begin < end:
        yield begin, end
