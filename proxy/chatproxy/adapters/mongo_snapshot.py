"""The whole database as it was at one moment, read while it is written to.

A replica set, even of one member, keeps its past for a while (minSnapshotHistoryWindowInSeconds, which images/mongo
sets to an hour), and readConcern "snapshot" reads all collections as they were at one cluster time. A mongod that
stands alone has none. https://www.mongodb.com/docs/manual/reference/read-concern-snapshot/
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError
from pymongo.client_session import ClientSession
from pymongo.database import Database as MongoDatabase
from pymongo.errors import OperationFailure

from chatproxy.adapters import mongo_metadata
from chatproxy.adapters.mongo import Database, Document
from chatproxy.adapters.mongo_knowledge import chunk_of
from chatproxy.adapters.mongo_metadata import Described
from chatproxy.adapters.mongo_passages import CHUNKS
from chatproxy.core.carried import Item, Refused
from chatproxy.core.carried_ports import Kept
from chatproxy.core.sources import StoredChunk

_NOT_A_REPLICA_SET, _UNAVAILABLE = 123, 246
# Also: SnapshotTooOld, and a cursor that nobody has asked for half an hour.
_LOST = (_UNAVAILABLE, 239, 43, 237)
# A collection or index that was just made is not yet in any snapshot.
_ATTEMPTS = 10
_ATTEMPT_EVERY_S = 0.5
# Nothing of what a document says is judged here, only whether it is one.
_LENIENT: CodecOptions[Document] = CodecOptions(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
)
_KEYS = ("keys", "sites")


class MongoSnapshots:
    """Implements core.carried_ports.Snapshots."""

    def __init__(self, database: Database) -> None:
        """`database` is one that is read as it is: looking must not change it."""
        self._database = database

    @contextmanager
    def taken(self) -> Iterator[MongoSnapshot]:
        """See core.carried_ports.Snapshots. Raises StorageUnavailable, and Refused where there are no snapshots."""
        with self._database.opened() as database:
            for left in reversed(range(_ATTEMPTS)):
                with database.client.start_session(snapshot=True) as session:
                    try:
                        snapshot = _begun(database, session)
                    except OperationFailure as error:
                        if error.code != _UNAVAILABLE or not left:
                            raise _refused(error, "the database") from error
                    else:
                        yield snapshot
                        return
                time.sleep(_ATTEMPT_EVERY_S)


class MongoSnapshot:
    """Implements core.carried_ports.Snapshot."""

    def __init__(
        self, database: MongoDatabase[Document], session: ClientSession, kept: Sequence[Described], version: Any
    ) -> None:
        self._database, self._session, self._kept = database, session, kept
        self.schema = version if isinstance(version, int) else 0
        told = session.cluster_time or {}
        self.moment: datetime = told["clusterTime"].as_datetime() if "clusterTime" in told else datetime.now(UTC)

    def collections(self) -> Sequence[Described]:
        """See core.carried_ports.Snapshot."""
        return self._kept

    def has_keys(self) -> bool:
        """See core.carried_ports.Snapshot."""
        return any(self._database[name].find_one({}, {"_id": 1}, session=self._session) for name in _KEYS)

    def documents(self, kept: Kept) -> Iterator[tuple[bytes, Sequence[Item]]]:
        """See core.carried_ports.Snapshot."""
        expiries = next(each.expiries for each in self._kept if each.name == kept.name)
        with _reading(kept.name):
            # By _id, and by its index: the order in which the same documents come wherever they are.
            batches: Any = self._database[kept.name].find_raw_batches({}, session=self._session).sort("_id", 1)
            for batch in batches:
                yield batch, _items(batch, expiries)

    def searched(self) -> Mapping[str, Sequence[str]]:
        """See core.carried_ports.Snapshot."""
        shown, ids = {"collection": 1, "twin": 1}, dict[str, list[str]]()
        with _reading(CHUNKS):
            for chunk in self._database[CHUNKS].find({}, shown, session=self._session).sort("_id", 1):
                of_collection = ids.setdefault(chunk["collection"], [])
                if not chunk["twin"]:
                    of_collection.append(chunk["_id"])
        return ids

    def chunks(self, ids: Sequence[str]) -> Sequence[StoredChunk]:
        """See core.carried_ports.Snapshot."""
        with _reading(CHUNKS):
            found = self._database[CHUNKS].find({"_id": {"$in": list(ids)}}, session=self._session)
            return [chunk_of(document) for document in found]


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OperationFailure as error:
        raise _refused(error, name) from error
    except (BSONError, struct.error, KeyError) as error:
        raise Refused(
            "backup.store_broken",
            f"a document of {name} cannot be read: {str(error)[:200]}",
            "`make doctor` looks at the disk; `make restore FROM=...` brings the last good backup back",
        ) from error


def _begun(database: MongoDatabase[Document], session: ClientSession) -> MongoSnapshot:
    # The first read decides the moment. Listing collections knows no past, so it comes after, and what it lists is
    # read once before anything is told.
    version = database["schema"].find_one({"_id": "version"}, session=session) or {}
    kept = []
    for info in database.list_collections():
        if info["name"].startswith("system."):
            continue
        is_view = info.get("type") == "view"
        kept.append(mongo_metadata.described(info, () if is_view else database[info["name"]].list_indexes()))
        if not is_view:
            database[info["name"]].find_one({}, {"_id": 1}, session=session)
    kept.sort(key=lambda each: (each.view, each.name))
    return MongoSnapshot(database, session, kept, version.get("number"))


def _items(batch: bytes, expiries: Sequence[tuple[Sequence[str], float]]) -> list[Item]:
    items, begin = [], 0
    for document in bson.decode_all(batch, _LENIENT):
        (size,) = struct.unpack_from("<i", batch, begin)
        key = document["_id"]
        items.append(Item(key if isinstance(key, str) else str(key), size, _expires(document, expiries)))
        begin += size
    return items


def _expires(document: Document, expiries: Sequence[tuple[Sequence[str], float]]) -> int | None:
    """When MongoDB deletes it, in ms since 1970; of a list of times the earliest counts."""
    moments = []
    for path, seconds in expiries:
        value: Any = document
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        times = [int(each) for each in (value if isinstance(value, list) else [value]) if isinstance(each, DatetimeMS)]
        if times:
            moments.append(min(times) + int(seconds * 1000))
    return min(moments, default=None)


def _refused(error: OperationFailure, what: str) -> Exception:
    if error.code == _NOT_A_REPLICA_SET:
        return Refused(
            "backup.no_snapshot",
            "MongoDB stands alone: it cannot be read as of one moment while it is written to",
            "`make up` brings MongoDB to this version, as a replica set of one; then try again",
        )
    if error.code in _LOST:
        return Refused(
            "backup.moment_lost",
            f"{what} cannot be read any more as it was when the backup began: MongoDB keeps that for an hour",
            "try again at a quieter hour, to a faster disk; nothing was changed",
        )
    return Refused(
        "backup.store_broken",
        f"{what} cannot be read: MongoDB says {error.code}, {str(error)[:200]}",
        "`make logs SERVICE=mongo` tells more; nothing of this is backed up until it is mended",
    )
