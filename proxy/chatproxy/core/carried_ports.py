"""What dump, load and comparison need of the stores, beside core/ports.py.

Every method raises a ChatProxyError where its store is away; core.carried.Refused where the store itself is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from chatproxy.core.carried import Item
from chatproxy.core.passages import Fit
from chatproxy.core.ports import Embedder, VectorIndex
from chatproxy.core.sources import StoredChunk


class Kept(Protocol):
    """A collection (`view`: what only looks like one) as it is described: the names of its indexes, and its metadata
    as mongodump writes them."""

    @property
    def name(self) -> str: ...

    @property
    def view(self) -> bool: ...

    @property
    def indexes(self) -> Sequence[str]: ...

    @property
    def metadata(self) -> bytes: ...


class Snapshot(Protocol):
    """All of the database as it was at one moment, whatever is written meanwhile."""

    moment: datetime
    schema: int

    def collections(self) -> Sequence[Kept]:
        """By name, views last."""
        ...

    def has_keys(self) -> bool:
        """Whether there is a key of any kind: an appliance without one has never been set up."""
        ...

    def documents(self, kept: Kept) -> Iterator[tuple[bytes, Sequence[Item]]]:
        """All of a collection as stored, in batches of a few MB, by _id."""
        ...

    def searched(self) -> Mapping[str, Sequence[str]]:
        """By knowledge collection the ids of the chunks that are searched, in order; those without any too."""
        ...

    def chunks(self, ids: Sequence[str]) -> Sequence[StoredChunk]: ...


class Snapshots(Protocol):
    def taken(self) -> AbstractContextManager[Snapshot]:
        """The database as it is now, until the end of the context."""
        ...


class Refill(Protocol):
    """An empty database that is filled. Documents go in as they are, byte for byte."""

    known_schema: int

    def filled(self) -> Sequence[str]:
        """Names of collections that have documents."""
        ...

    def make(self, metadata: bytes) -> tuple[str, bool]:
        """Make a collection or view with all its options; its name, and whether it is a view."""
        ...

    def put(self, name: str, documents: Sequence[bytes]) -> None: ...

    def index(self, name: str) -> None:
        """Make a collection's indexes: once, when all is in, and so that expired documents do not go before."""
        ...

    def finish(self) -> None:
        """Returns when all of it is on disk. Only then the database has a schema version."""
        ...

    def chunks(self, after: str, count: int) -> Sequence[StoredChunk]:
        """Searched chunks by id, those behind `after`."""
        ...


class StoredVectors(VectorIndex, Protocol):
    """Vectors that can be read back."""

    def check(self) -> None:
        """Raises Unhealthy."""
        ...

    def names(self) -> Sequence[str]:
        """All knowledge collections that there are."""
        ...

    def identity(self, collection: str) -> str | None:
        """Names what is there now: another one after the collection was made anew. None where it is not whole."""
        ...

    def count(self, collection: str) -> int:
        """0 for a collection that is not there, or not whole."""
        ...

    def stored(self, collection: str, ids: Sequence[str]) -> Mapping[str, Sequence[float]]:
        """Those that are there."""
        ...

    def fit(self, collection: str) -> Fit: ...


class NamedEmbedder(Embedder, Protocol):
    """An embedder that tells its model's name."""

    def model(self) -> str: ...
