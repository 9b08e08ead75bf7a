"""What a backup carries away and a restore brings back: how it is told in data.json, and what differs from it.

    {"format": 1, "schema": 9, "moment": "2026-11-22T08:15:00+00:00",
     "collections": {NAME: {"documents", "bytes", "sha256", "groups", "indexes": [names]}}, "views": [names],
     "vectors": {NAME: {"count", "sha256", "groups", "model", "whole"}},      (core/vector_sums.py)
     "probes": [{"collection", "passage", "nearest": [ids], "words": [ids]}]}

`sha256` is over all documents' BSON in the order of their _id. `groups` are the same for parts, {KEY: [documents,
sha256]}, for two reasons. MongoDB deletes documents at their expiry, so those of one day (UTC; KEY is 2026-12-24) count
as gone from that day on: what retention took is no difference. Documents without an expiry go by a checksum of their
_id (KEY is two hexadecimal digits), which names a few where they differ.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any

from chatproxy.errors import ChatProxyError

FORMAT = 1
_DAY_MS = 86_400_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal()
_NAMED_OF_GROUP = 3
_NAMED = 5  # _ids of a collection; never what is in the documents


class Refused(ChatProxyError):
    """Data that is not carried, as a finding for the operator: what is the case, and what to do."""

    def __init__(self, finding: str, fact: str, hint: str) -> None:
        super().__init__(fact)
        self.finding, self.fact, self.hint = finding, fact, hint


@dataclass(frozen=True, slots=True)
class Item:
    """One document or vector of a batch: its id in words, its length in bytes, and when it expires (ms since 1970)."""

    id: str
    size: int
    expires_ms: int | None = None


@dataclass(slots=True)
class _Group:
    documents: int = 0
    sum: Any = field(default_factory=hashlib.sha256)
    ids: list[str] = field(default_factory=list)


class Digest:
    """The sums over a collection, which comes in batches and in order."""

    def __init__(self) -> None:
        self.documents = 0
        self.bytes = 0
        self._all = hashlib.sha256()
        self._groups: dict[str, _Group] = {}

    def add(self, data: bytes, items: Iterable[Item]) -> None:
        """`data` holds the items one behind the other."""
        self._all.update(data)
        self.bytes += len(data)
        view, begin = memoryview(data), 0
        for item in items:
            group = self._groups.setdefault(_group_of(item), _Group())
            group.sum.update(view[begin : begin + item.size])
            group.documents += 1
            if len(group.ids) < _NAMED_OF_GROUP:
                group.ids.append(item.id)
            self.documents += 1
            begin += item.size

    @property
    def sha256(self) -> str:
        return self._all.hexdigest()

    def told(self) -> dict[str, Any]:
        groups = {key: [group.documents, group.sum.hexdigest()] for key, group in sorted(self._groups.items())}
        return {"documents": self.documents, "bytes": self.bytes, "sha256": self.sha256, "groups": groups}

    def named(self, groups: Iterable[str]) -> list[str]:
        """A few _ids of these groups."""
        return [key for name in groups if name in self._groups for key in self._groups[name].ids][:_NAMED]


def difference(told: Mapping[str, Any], found: Digest, today: date) -> tuple[dict[str, Any] | None, int]:
    """How a collection differs from what was told of it, None for not at all; and how many documents have expired."""
    if (told["documents"], told["sha256"]) == (found.documents, found.sha256):
        return None, 0
    groups, now = told["groups"], found.told()["groups"]
    expired, unlike = 0, []
    for key in sorted({*groups, *now}):
        before, after = groups.get(key, [0, ""]), now.get(key, [0, ""])
        if before == after:
            continue
        if _is_past(key, today) and after[0] < before[0]:
            expired += before[0] - after[0]
        else:
            unlike.append(key)
    if not unlike and expired:
        return None, expired
    return {"documents": [told["documents"], found.documents], "among": found.named(unlike)}, expired


def probed(ids: Sequence[str], many: int) -> list[str]:
    """At most so many of them, spread evenly."""
    return [ids[number * len(ids) // many] for number in range(many)] if len(ids) > many else list(ids)


def _group_of(item: Item) -> str:
    if item.expires_ms is not None and (day := _day(item.expires_ms // _DAY_MS)):
        return day
    return f"{zlib.crc32(item.id.encode('utf-8', 'surrogatepass')) & 0xFF:02x}"


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    """A day since 1970 as ISO tells it; "" for one that no calendar has: it is not going to come."""
    ordinal = number + _EPOCH_DAY
    return date.fromordinal(max(1, ordinal)).isoformat() if ordinal <= _LAST_DAY else ""


def _is_past(group: str, today: date) -> bool:
    # ISO dates are in order as texts, and two hexadecimal digits are none.
    return len(group) == len("2026-12-24") and group <= today.isoformat()
