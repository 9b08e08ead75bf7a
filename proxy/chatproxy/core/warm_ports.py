"""What warming needs of an engine, beside that it continues text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from chatproxy.core.ports import Engine, HealthCheck


@dataclass(frozen=True, slots=True)
class CacheState:
    """How an engine's prompt cache stands.

    `age` only ever grows while the engine's process lives (a clock, a count of what it has done): one that has fallen
    back tells that everything read before is forgotten. `empty_slots` are the numbers of those that have read nothing.
    """

    age: int
    empty_slots: tuple[int, ...] = ()


class Warmable(Engine, HealthCheck, Protocol):
    """An engine that keeps the prompts it has read."""

    def cache(self) -> CacheState | None:
        """None where the engine does not tell, or not now."""
        ...
