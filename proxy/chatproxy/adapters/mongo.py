"""The MongoDB database: connection, schema version, errors in our own terms.

The client connects on first use and reconnects by itself, so the proxy starts while MongoDB is down and recovers when
it is back. A write that was acknowledged is on disk: w "majority" and j true (w 1 alone is acknowledged in memory
only). UNFLUSHED is for writes that a later one takes to disk with it, or that may be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pymongo
from pymongo.collection import Collection
from pymongo.database import Database as MongoDatabase
from pymongo.errors import (
    ConnectionFailure,
    DuplicateKeyError,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.write_concern import WriteConcern

from chatproxy.adapters.mongo_migrations import MIGRATIONS
from chatproxy.adapters.mongo_space import Space
from chatproxy.adapters.remembered import Remembered
from chatproxy.errors import StorageFull, StorageUnavailable, Unhealthy

Document = dict[str, Any]
T = TypeVar("T")
UNFLUSHED = WriteConcern(w=1, j=False)

_SERVER_SELECTION_MS = 3000
_CONNECT_MS = 2000
_SOCKET_MS = 20_000
_CHECK_MS = 2000


class Database:
    """Hands out collections of a database whose schema is known to be the one this program needs."""

    name = "mongo"

    def __init__(self, url: str, database: str, *, user: str = "", password: str = "", as_it_is: bool = False) -> None:
        """Does not connect. The user is looked up in `database` unless the URL names an authSource.

        `as_it_is`: whatever its schema is, it stays; for what carries all of it away, or brings it back.
        """
        credentials: dict[str, Any] = {"username": user, "password": password} if user else {}
        if user and "authsource=" not in url.lower():
            credentials["authSource"] = database
        client: pymongo.MongoClient[Document] = pymongo.MongoClient(
            url,
            connect=False,
            appname="chatproxy",
            serverSelectionTimeoutMS=_SERVER_SELECTION_MS,
            connectTimeoutMS=_CONNECT_MS,
            socketTimeoutMS=_SOCKET_MS,
            w="majority",
            journal=True,
            tz_aware=True,
            **credentials,
        )
        self._database = client[database]
        self._schema = Remembered((lambda: 0) if as_it_is else self._migrate)
        self._space = Space(self._database)

    @contextmanager
    def opened(self, *, growing: bool = False) -> Iterator[MongoDatabase[Document]]:
        """All collections, for operations on several; MongoDB's errors come out as StorageUnavailable.

        `growing`: for what takes something new in. Raises StorageFull where there is no room for it.
        """
        try:
            self._schema.get()
            if growing:
                self._space.require()
            yield self._database
        except PyMongoError as error:
            raise StorageUnavailable(f"MongoDB: {_short(error)}") from error

    @contextmanager
    def collection(self, name: str) -> Iterator[Collection[Document]]:
        """A collection for one operation; MongoDB's errors come out as StorageUnavailable."""
        with self.opened() as database:
            yield database[name]

    def check(self) -> None:
        """See core.ports.HealthCheck."""
        try:
            with pymongo.timeout(_CHECK_MS / 1000):
                self._database.command("ping")
                self._schema.get()
                self._space.require()
        except OperationFailure as error:
            raise Unhealthy("authentication failed" if error.code == 18 else f"error {error.code}") from None
        except PyMongoError:
            raise Unhealthy("cannot be reached") from None
        except StorageFull:
            raise Unhealthy("its disk is nearly full, nothing new is stored") from None
        except StorageUnavailable as error:
            raise Unhealthy(str(error)) from None

    def _migrate(self) -> int:
        """Bring the schema up to date; returns its version. Refuses a newer one: who knows what we would break."""
        versions = self._database["schema"]
        stored = versions.find_one({"_id": "version"})
        version = int(stored["number"]) if stored else 0
        if version > len(MIGRATIONS):
            raise StorageUnavailable(
                f"the database has schema version {version}, this program knows {len(MIGRATIONS)}: "
                "run the newer program, or restore a backup of this one's data",
                retry_after=None,
            )
        for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
            migration(self._database)
            versions.update_one({"_id": "version"}, {"$max": {"number": number}}, upsert=True)
        return len(MIGRATIONS)


def insert_once(collection: Collection[Document], document: Document) -> None:
    """Insert; when the connection breaks in between, once more, which stores it once since its _id is ours."""
    try:
        collection.insert_one(document)
    except ConnectionFailure:
        try:
            collection.insert_one(document)
        except DuplicateKeyError:
            return  # the first attempt had arrived


def again_if_broken(operation: Callable[[], T]) -> T:
    """Run what may run twice; when the connection breaks in between, once more."""
    try:
        return operation()
    except (ServerSelectionTimeoutError, NetworkTimeout):
        raise  # a server that is away or hangs would only be waited for again
    except ConnectionFailure:
        return operation()


def _short(error: PyMongoError) -> str:
    """The error's first sentence: pymongo appends its whole view of the topology."""
    return str(error).partition(", Timeout:")[0][:300]
