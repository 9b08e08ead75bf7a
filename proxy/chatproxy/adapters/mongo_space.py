"""How much room the disk has that mongod writes to, as mongod itself tells.

A mongod that cannot write its journal ends itself, and with it all reading. So nothing new is taken in while there is
still room for what has begun: answers in progress, deletions, the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pymongo.database import Database as MongoDatabase

from chatproxy.adapters.remembered import Remembered
from chatproxy.errors import StorageFull

# Bytes. mongod's journal takes files of 100 MB, one of them ahead of need, and a checkpoint writes before it frees.
LEAST_FREE = 512 * 2**20
# A disk that others fill is looked at again soon; asking costs mongod a fraction of a millisecond.
_LASTS_S = 2.0


class Space:
    """Asks now and then. Thread-safe."""

    def __init__(self, database: MongoDatabase[dict[str, Any]], clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._free = Remembered(self._read, lasts_s=_LASTS_S, clock=clock)

    def require(self) -> None:
        """Raises StorageFull where too little is left, and MongoDB's own errors."""
        free = self._free.get()
        if free is not None and free < LEAST_FREE:
            raise StorageFull(f"MongoDB's disk has {free / 2**20:.0f} MiB left, {LEAST_FREE / 2**20:.0f} are kept free")

    def _read(self) -> int | None:
        """Bytes; None where the server does not tell (one that is shared with others)."""
        told = self._database.command("dbStats")
        return int(told["fsTotalSize"] - told["fsUsedSize"]) if "fsTotalSize" in told else None
