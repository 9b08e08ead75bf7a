"""Sums over a collection's vectors: one that is exact, for what is written down, and some that Chroma cannot spoil.

Chroma brings every vector it is given to length 1, in 32-bit numbers: each time the last digit of some of them changes
(up to 2e-8, measured). So what it gives back is compared by sums of all its numbers, each times a weight that depends
on the vector's id and the number's place: rounding stays far below the tolerance, another vector far above it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from operator import mul
from typing import Any

from chatproxy.core import vector_lines

_WEIGHTS_BYTES = 1 << 14
# From -1 to 1, the same for ever: sums are kept in archives.
_WEIGHTS = [byte / 127.5 - 1 for byte in hashlib.shake_256(b"chatbot vector sums").digest(_WEIGHTS_BYTES)]
# By vector. Rounding comes to about 3e-7, another vector of length 1 changes the sum by about 1.
_TOLERANCE = 4e-6
_NAMED_OF_GROUP = 3
_NAMED = 5


class VectorSums:
    """Vectors in the order of their ids; by a checksum of the id, so that a few can be named where they differ."""

    def __init__(self) -> None:
        self.count = 0
        self._all = hashlib.sha256()
        self._groups: dict[str, list[Any]] = {}

    def add(self, vectors: Mapping[str, bytes]) -> None:
        """`vectors` are as vector_lines.packed gives them, by id."""
        for key, numbers in vectors.items():
            encoded = key.encode("utf-8", "surrogatepass")
            self._all.update(encoded + b"\0" + numbers)
            checksum = zlib.crc32(encoded)
            group = self._groups.setdefault(f"{checksum & 0xFF:02x}", [0, 0.0, []])
            group[0] += 1
            group[1] += _weighed(vector_lines.unpacked(numbers), checksum >> 8)
            if len(group[2]) < _NAMED_OF_GROUP:
                group[2].append(key)
            self.count += 1

    def told(self) -> dict[str, Any]:
        """`sha256` is exact, of ids and numbers; `groups` are {KEY: [vectors, sum]}."""
        groups = {name: [many, total] for name, (many, total, _) in sorted(self._groups.items())}
        return {"count": self.count, "sha256": self._all.hexdigest(), "groups": groups}

    def unlike(self, told: Mapping[str, Any]) -> list[str] | None:
        """A few ids of groups that are not as `told`; None where all are."""
        names = [
            name
            for name in sorted({*self._groups, *told["groups"]})
            if not _alike(self._groups.get(name, (0, 0.0)), told["groups"].get(name, (0, 0.0)))
        ]
        if not names:
            return None
        return [key for name in names if name in self._groups for key in self._groups[name][2]][:_NAMED]


def _weighed(numbers: Sequence[float], place: int) -> float:
    begin = place % _WEIGHTS_BYTES
    weights = _WEIGHTS[begin : begin + len(numbers)]
    while len(weights) < len(numbers):
        weights += _WEIGHTS[: len(numbers) - len(weights)]
    return float(sum(map(mul, numbers, weights)))


def _alike(found: Sequence[Any], told: Sequence[Any]) -> bool:
    return bool(found[0] == told[0] and abs(found[1] - told[1]) <= _TOLERANCE * max(1, found[0]))
