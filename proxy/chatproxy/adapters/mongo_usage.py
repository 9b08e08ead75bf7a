"""Usage counters in MongoDB: collection `usage` with _id (the counter's name), count, expires_at.

A TTL index deletes each some time after its window has ended; a counter of addresses holds the address until then.
Acknowledged in memory (w 1, no journal): a counter survives a restart of the proxy and of MongoDB, a crash of MongoDB
may lose its last 100 ms (the journal's interval), and nobody waits for a disk just to be counted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from chatproxy.adapters.mongo import UNFLUSHED, Database


class MongoUsage:
    """Implements core.ports.UsageStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, counter: str, amount: int, *, expires_at: datetime) -> int:
        """See core.ports.UsageStore. Where the connection breaks it may have been counted or not."""
        with self._database.collection("usage") as usage:
            try:
                document = _count(usage, counter, amount, expires_at)
            except DuplicateKeyError:
                document = _count(usage, counter, amount, expires_at)  # two made it at once; now it is there
        return int(document["count"])

    def read(self, counter: str) -> int:
        """See core.ports.UsageStore."""
        with self._database.collection("usage") as usage:
            document = usage.find_one({"_id": counter}, {"count": 1})
        return int(document["count"]) if document else 0


def _count(usage: Collection[dict[str, Any]], counter: str, amount: int, expires_at: datetime) -> dict[str, Any]:
    document = usage.with_options(write_concern=UNFLUSHED).find_one_and_update(
        {"_id": counter},
        {"$inc": {"count": amount}, "$setOnInsert": {"expires_at": expires_at}},
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return cast(dict[str, Any], document)  # never None: where there was none, it has made one
