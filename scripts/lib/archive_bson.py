"""What the packed files of a backup hold, compared with what the dump said that it wrote.

The archive's own checksums begin on this machine; data.json's were worked out beside the database. When both agree, the
bytes are those that MongoDB gave.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from scripts.lib.archive_tar import BrokenArchiveError

_COLLECTIONS = "data/mongo/"
_PACKED = ".bson.gz"
_GZIP = 31
# What may come out at once.
_PIECE = 4 * 2**20
_COUNT_LIMIT = 2**63


class _Digest(Protocol):
    def update(self, content: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class Contents:
    """Unpacks each collection as its chunks come, and keeps nothing but checksums and sizes."""

    def __init__(self) -> None:
        self._digests: dict[str, _Digest] = {}
        self._sizes: dict[str, int] = {}
        self._unpacking: dict[str, Any] = {}

    def take(self, name: str, chunk: bytes) -> None:
        """The next bytes of a member. BrokenArchiveError where they cannot be unpacked."""
        if not (name.startswith(_COLLECTIONS) and name.endswith(_PACKED)):
            return
        digest = self._digests.setdefault(name, hashlib.sha256())
        self._sizes.setdefault(name, 0)
        more = False
        while chunk or more:
            unpacking = self._unpacking.setdefault(name, zlib.decompressobj(_GZIP))
            try:
                content = unpacking.decompress(chunk, _PIECE)
            except zlib.error as error:
                raise BrokenArchiveError(f"{name} cannot be unpacked ({error})") from error
            digest.update(content)
            self._sizes[name] += len(content)
            chunk = unpacking.unconsumed_tail
            # All of the chunk may be taken in before all of it has come out.
            more = len(content) == _PIECE and not unpacking.eof
            if unpacking.eof:
                # Several packed files in a row are one, as gzip has it.
                chunk = unpacking.unused_data
                del self._unpacking[name]

    def compare(self, data: Mapping[str, Any]) -> None:
        """BrokenArchiveError where the collections are not, byte for byte, what data.json says."""
        if self._unpacking:
            raise BrokenArchiveError(f"{min(self._unpacking)} is cut off")
        told = data.get("collections")
        if not isinstance(told, dict) or len(told) != len(self._sizes):
            raise BrokenArchiveError("data.json names other collections than there are")
        # Of names that are too long for a file only a part is left, so content is looked for by content.
        there = Counter((self._sizes[name], self._digests[name].hexdigest()) for name in self._sizes)
        for collection, expected in told.items():
            there[expected.get("bytes"), expected.get("sha256")] -= 1
            if there[expected.get("bytes"), expected.get("sha256")] < 0:
                raise BrokenArchiveError(f"the collection {collection} is not what MongoDB gave")


def check_counts(data: Mapping[str, Any]) -> None:
    """TypeError or ValueError where data.json does not have what is reckoned with before it is restored."""
    collections = data.get("collections", {})
    if not isinstance(collections, dict) or not all(isinstance(each, dict) for each in collections.values()):
        raise TypeError
    for count in (each.get(name, 0) for each in collections.values() for name in ("documents", "bytes")):
        if type(count) is not int or not 0 <= count < _COUNT_LIMIT:
            raise ValueError(count)
