"""An empty database that is filled from a backup, documents as they are, byte for byte.

A collection's indexes come behind its documents, which is faster, and since documents past their expiry are to come
back first and be deleted then: MongoDB looks for them once a minute. That they go is right. Retention was promised to
those who wrote them, and a backup is no way around it; core.carried counts them as gone on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence

import pymongo
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError

from chatproxy.adapters import mongo_metadata
from chatproxy.adapters.mongo import UNFLUSHED, Database, Document
from chatproxy.adapters.mongo_knowledge import chunk_of
from chatproxy.adapters.mongo_migrations import MIGRATIONS
from chatproxy.adapters.mongo_passages import CHUNKS
from chatproxy.core.carried import Refused
from chatproxy.core.sources import StoredChunk

_SCHEMA = "schema"
# A text index over millions of messages takes minutes, and there is no answer meanwhile.
_INDEX_S = 3600.0
# All that was written before is on disk with it.
_FLUSH_S = 300.0


class MongoRefill:
    """Implements core.carried_ports.Refill."""

    known_schema = len(MIGRATIONS)

    def __init__(self, database: Database) -> None:
        """`database` is one that is left as it is: the backup brings its schema's version."""
        self._database = database
        self._described: dict[str, Document] = {}
        self._last: list[bytes] = []

    def filled(self) -> Sequence[str]:
        """See core.carried_ports.Refill."""
        with self._database.opened() as database:
            names = sorted(info["name"] for info in database.list_collections(filter={"type": "collection"}))
            return [name for name in names if not name.startswith("system.") and database[name].find_one({})]

    def make(self, metadata: bytes) -> tuple[str, bool]:
        """See core.carried_ports.Refill."""
        told = mongo_metadata.read(metadata)
        name = str(told["collectionName"])
        with self._database.opened() as database:
            database.drop_collection(name)  # an empty one, which may have other options
            database.command({"create": name, **told["options"]})
        self._described[name] = told
        return name, told["type"] == "view"

    def put(self, name: str, documents: Sequence[bytes]) -> None:
        """See core.carried_ports.Refill."""
        if name == _SCHEMA:
            self._last += documents
            return
        self._insert(name, documents)

    def index(self, name: str) -> None:
        """See core.carried_ports.Refill."""
        wanted = [
            {key: value for key, value in index.items() if key != "ns"}
            for index in self._described[name]["indexes"]
            # MongoDB makes these itself: that of _id, and the order of a clustered collection.
            if index["name"] != "_id_" and not index.get("clustered")
        ]
        if wanted:
            with self._database.opened() as database, pymongo.timeout(_INDEX_S):
                database.command({"createIndexes": name, "indexes": wanted})

    def finish(self) -> None:
        """See core.carried_ports.Refill."""
        with pymongo.timeout(_FLUSH_S):
            self._insert(_SCHEMA, self._last, flushed=True)

    def chunks(self, after: str, count: int) -> Sequence[StoredChunk]:
        """See core.carried_ports.Refill."""
        with self._database.collection(CHUNKS) as chunks:
            found = chunks.find({"_id": {"$gt": after}, "twin": False}).sort("_id", 1).limit(count)
            return [chunk_of(document) for document in found]

    def _insert(self, name: str, documents: Sequence[bytes], *, flushed: bool = False) -> None:
        with self._database.collection(name) as collection:
            kept = collection if flushed else collection.with_options(write_concern=UNFLUSHED)
            try:
                # Rules that came after a document was stored are not asked about it.
                kept.insert_many([RawBSONDocument(each) for each in documents], bypass_document_validation=True)
            except (BulkWriteError, InvalidBSON) as error:
                raise Refused(
                    "restore.archive_broken",
                    f"MongoDB does not take a document of {name}: {_reason(error)}",
                    "restore another archive",
                ) from error


def _reason(error: Exception) -> str:
    # The driver's own text holds the document.
    if isinstance(error, BulkWriteError):
        return f"error {error.details['writeErrors'][0]['code']}"
    return "it is none"
