"""What a crawl has still to read and what it has seen: a plain value that can be stored between any two pages."""

from __future__ import annotations

import base64
import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_VERSION = 2
# States that were stored with lists of hexadecimal digits: 14 MB where these are 6.
_FIRST_VERSION = 1
# Addresses kept in mind at most, and characters of those that wait: together some 40 MB here and 6 MB stored, of
# the 16 MB that a document of MongoDB may have.
MOST_SEEN = 100_000
MOST_WAITING_CHARACTERS = 4_000_000
_DIGEST_SIZE = 8


class CrawlState:
    """The addresses that wait, nearest to a start first, otherwise in the order in which they were found.

    An address stays at the front until `done`: a crawl that is killed while it reads a page reads that page again.
    Not thread-safe.
    """

    def __init__(self) -> None:
        self.begun = False
        self.ended = False
        # The site failed too often.
        self.gave_up = False
        # Read, or found unchanged.
        self.pages = 0
        # Addresses left out, by why; told once at the end.
        self.left_out: Counter[str] = Counter()
        self._waiting: list[tuple[int, int, str]] = []
        self._waiting_characters = 0
        self._order = 0
        self._seen: set[bytes] = set()
        self._replaced: set[bytes] = set()
        self._variants: Counter[bytes] = Counter()

    @property
    def waiting(self) -> int:
        """How many addresses wait."""
        return len(self._waiting)

    def front(self) -> tuple[str, int] | None:
        """The next address and its depth, None where nothing is left."""
        return (self._waiting[0][2], self._waiting[0][0]) if self._waiting else None

    def done(self) -> None:
        """Take the address at the front away."""
        self._waiting_characters -= len(heapq.heappop(self._waiting)[2])

    def has_seen(self, key: str) -> bool:
        return _digest(key) in self._seen

    def see(self, key: str) -> None:
        """Note an address that does not have to wait: a redirect led to it, or it is left out."""
        if len(self._seen) < MOST_SEEN:
            self._seen.add(_digest(key))

    def replace(self, key: str) -> None:
        """Note an address that was given up for what its canonical link names."""
        self._replaced.add(_digest(key))

    def was_replaced(self, key: str) -> bool:
        return _digest(key) in self._replaced

    def add(self, url: str, key: str, depth: int) -> bool:
        """Let an address wait; `key` is equal for addresses of one page. False where there is no room for it."""
        if len(self._seen) >= MOST_SEEN or self._waiting_characters + len(url) > MOST_WAITING_CHARACTERS:
            return False
        self._seen.add(_digest(key))
        heapq.heappush(self._waiting, (depth, self._order, url))
        self._order += 1
        self._waiting_characters += len(url)
        return True

    def count_variant(self, shape: str) -> int:
        """Count one more address of a shape (see boundary.variant_of); returns how many there are.

        Where there is no room for any address, there is none for another shape either.
        """
        hashed = _digest(shape)
        if hashed not in self._variants and len(self._seen) >= MOST_SEEN:
            return 1
        self._variants[hashed] += 1
        return self._variants[hashed]

    def to_dict(self) -> dict[str, Any]:
        """The whole state in JSON's types; it shares nothing with this object.

        `waiting` holds addresses by depth, one a line and in order; `variants` shapes by how often there are.
        """
        waiting: dict[int, list[str]] = {}
        for depth, _, url in sorted(self._waiting):
            waiting.setdefault(depth, []).append(url)
        shapes: dict[int, list[bytes]] = {}
        for shape, count in self._variants.items():
            shapes.setdefault(count, []).append(shape)
        return {
            "version": _VERSION,
            "begun": self.begun,
            "ended": self.ended,
            "gave_up": self.gave_up,
            "pages": self.pages,
            "replaced": _joined(self._replaced),
            "left_out": dict(self.left_out),
            "waiting": {str(depth): "\n".join(urls) for depth, urls in waiting.items()},
            "seen": _joined(self._seen),
            "variants": {str(count): _joined(same) for count, same in shapes.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> CrawlState:
        """The state that `to_dict` gave. Raises ValueError for another version's: begin anew then."""
        if stored.get("version") == _FIRST_VERSION:
            stored = _from_first(stored)
        if stored.get("version") != _VERSION:
            raise ValueError("the crawl was begun by another version")
        state = cls()
        state.begun, state.ended, state.gave_up = stored["begun"], stored["ended"], stored["gave_up"]
        state.pages = stored["pages"]
        state._replaced = set(_parted(stored["replaced"]))
        state.left_out = Counter(stored["left_out"])
        waiting = [(int(depth), url) for depth, urls in stored["waiting"].items() for url in urls.split("\n")]
        state._waiting = [(depth, order, url) for order, (depth, url) in enumerate(waiting)]
        heapq.heapify(state._waiting)
        state._waiting_characters = sum(len(url) for _, url in waiting)
        state._order = len(waiting)
        state._seen = set(_parted(stored["seen"]))
        state._variants = Counter(
            {shape: int(count) for count, same in stored["variants"].items() for shape in _parted(same)}
        )
        return state


def _digest(key: str) -> bytes:
    """A long address costs no more to remember than a short one."""
    return hashlib.blake2b(key.encode(), digest_size=_DIGEST_SIZE).digest()


def _joined(digests: Iterable[bytes]) -> str:
    """Digests as one text: as elements of a list each would take up to three times its size in BSON."""
    return base64.b64encode(b"".join(sorted(digests))).decode()


def _parted(text: str) -> list[bytes]:
    joined = base64.b64decode(text)
    return [joined[at : at + _DIGEST_SIZE] for at in range(0, len(joined), _DIGEST_SIZE)]


def _from_first(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A state of the first version as the present one stores it."""
    waiting: dict[str, list[str]] = {}
    for depth, _, url in stored["waiting"]:
        waiting.setdefault(str(depth), []).append(url)
    shapes: dict[str, list[bytes]] = {"1": [bytes.fromhex(shape) for shape in stored["single_variants"]]}
    for shape, count in stored["variants"].items():
        shapes.setdefault(str(count), []).append(bytes.fromhex(shape))
    return {
        **stored,
        "version": _VERSION,
        "replaced": _joined(map(bytes.fromhex, stored["replaced"])),
        "waiting": {depth: "\n".join(urls) for depth, urls in waiting.items()},
        "seen": _joined(map(bytes.fromhex, stored["seen"])),
        "variants": {count: _joined(same) for count, same in shapes.items()},
    }
