"""What ingestion needs from the outside world, beside core/ports.py. Everything may be repeated: a job that is killed
and taken up again does its last steps twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import BinaryIO, Protocol

from chatproxy.core.passages import Entry
from chatproxy.core.sources import Counts, Job, JobState, Progress, Record, Report, Source, StoredChunk, Wanted


class TokenCounter(Protocol):
    """The embedding model's view of lengths. Every method raises a ChatProxyError where nobody can tell."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without those that the model puts around it."""
        ...

    def most_read(self) -> int:
        """Tokens of a text that the model reads; it drops the rest without a word."""
        ...


class Describer(Protocol):
    """Looks at pictures. Every method raises EngineFailure; its text is for the job's report."""

    def sees(self) -> bool:
        """Whether there is a model that can look at pictures now."""
        ...

    def describe(self, picture: bytes, media_type: str) -> str:
        """What is to be seen, in a few sentences; never empty."""
        ...


class WordsIndex(Protocol):
    """The word index for the one process that writes. Every method raises a ChatProxyError."""

    def put(self, entries: Mapping[str, Entry]) -> None:
        """Index chunks by their ids, in place of what was there under them."""
        ...

    def remove(self, ids: Iterable[str]) -> None:
        """Forget these chunks; unknown ones are passed over."""
        ...

    def drop(self, collection: str) -> None:
        """Forget a whole collection, known or not."""
        ...


class Originals(Protocol):
    """Documents' bytes as they were given. Every method raises StorageUnavailable."""

    def keep(self, key: str, data: bytes | BinaryIO) -> None:
        """Store bytes, or a file from where it stands, under a key that stands for these: what is there stays."""
        ...

    def read(self, key: str) -> bytes:
        """Raises NotFound."""
        ...

    def forget(self, key: str) -> None: ...


class SourceStore(Protocol):
    """Sources by their id. Every method raises StorageUnavailable."""

    def put(self, source: Source) -> None:
        """Store a source, in place of what its id stood for; when it was made and last read stays as it was."""
        ...

    def find(self, source_id: str) -> Source | None: ...

    def all(self) -> Sequence[Source]:
        """Oldest first."""
        ...

    def counts(self) -> Mapping[str, Counts]:
        """By source id; sources without documents are missing."""
        ...

    def due(self, moment: datetime) -> Sequence[Source]:
        """Those that are to be read again and have no open job."""
        ...

    def postpone(self, source_id: str, until: datetime | None) -> None:
        """Let a source be due then, None for never."""
        ...

    def synced(self, source_id: str, moment: datetime, state: str) -> None: ...

    def remove(self, source_id: str) -> None: ...


class DocumentStore(Protocol):
    """Documents and their chunks. Every method raises StorageUnavailable; a write that returned is on disk."""

    def record(self, document_id: str) -> Record | None: ...

    def records(self, source_id: str) -> Iterator[Record]:
        """By id. May be changed while it is read."""
        ...

    def failed(self, source_id: str) -> Sequence[Record]:
        """Those that could not be read, by id."""
        ...

    def put_record(self, record: Record) -> None: ...

    def remove_record(self, document_id: str) -> None: ...

    def put_chunks(self, chunks: Sequence[StoredChunk]) -> None: ...

    def chunks(self, document_id: str) -> Sequence[StoredChunk]: ...

    def left_over(self, document_id: str, version: str) -> Sequence[StoredChunk]:
        """A document's chunks of other versions than this one."""
        ...

    def remove_chunks(self, ids: Sequence[str]) -> None: ...

    def said(
        self, collection: str, sames: Collection[str], *, but: str = "", but_ids: Collection[str] = ()
    ) -> set[str]:
        """Which of these samenesses searched chunks have, those of document `but` and the chunks `but_ids` aside."""
        ...

    def twins(self, collection: str, sames: Collection[str], *, but_ids: Collection[str] = ()) -> Sequence[StoredChunk]:
        """For each sameness the first twin that is there, by id, `but_ids` aside."""
        ...

    def collections(self) -> Sequence[str]:
        """Names of all collections that have chunks."""
        ...

    def searched(self, after: str, count: int) -> Sequence[StoredChunk]:
        """Chunks that are no twins, by id, those behind `after`."""
        ...

    def searched_count(self) -> int: ...


class JobStore(Protocol):
    """Jobs, which workers lease. Every method raises StorageUnavailable."""

    def add(self, job: Job) -> Job:
        """Store a job; where one of its kind for its source is open, that one is returned instead."""
        ...

    def find(self, job_id: str) -> Job | None: ...

    def latest(self, source_id: str, *, report: bool) -> Job | None:
        """A source's newest job, without its checkpoint and, unless asked for, its report."""
        ...

    def open(self) -> Sequence[Job]:
        """Oldest first, without their checkpoints."""
        ...

    def recent(self, count: int) -> Sequence[Job]:
        """The newest, open or ended, newest first; without their checkpoints and reports."""
        ...

    def want(self, job_id: str, wanted: Wanted) -> Job | None:
        """Ask for an open job to run, pause or end; at once where no worker has it. None for one that is not open."""
        ...

    def take(self, worker: str, moment: datetime, until: datetime) -> Job | None:
        """Lease the oldest job that waits, that this worker had, or whose lease has run out."""
        ...

    def renew(self, job_id: str, worker: str, until: datetime, progress: Progress) -> Wanted | None:
        """Keep the lease and tell how far the job is; what is wanted of it, None where it is another worker's."""
        ...

    def checkpoint(self, job: Job, worker: str, crawl: Mapping[str, object], report: Report) -> None:
        """Store from where the job goes on."""
        ...

    def leave(
        self, job: Job, worker: str, state: JobState, moment: datetime, report: Report, *, trouble: str = ""
    ) -> None:
        """End the lease with the job in `state`; with "waiting" and `moment` in the future it is not taken before."""
        ...
