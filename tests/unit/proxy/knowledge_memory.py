"""Ingestion's stores in memory, which die at a chosen moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import BinaryIO

from chatproxy.core.passages import Entry, Fit, Hit
from chatproxy.core.sources import Counts, Job, JobState, Progress, Record, Report, Source, StoredChunk, Wanted
from chatproxy.errors import NotFound, SearchUnavailable, StorageUnavailable


class KilledError(BaseException):
    """The process is no more: nothing of it runs on, so no `except Exception` sees this."""


class Clock:
    """Counts the writes of all stores, and ends the world before the one numbered `dies_at`, or after it."""

    def __init__(self) -> None:
        self.writes = 0
        self.dies_at: int | None = None

    def write(self) -> None:
        self.writes += 1
        if self.writes == self.dies_at:
            self.dies_at = None
            raise KilledError


class MemoryDocuments:
    """Implements DocumentStore."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.kept, self.all_chunks = clock, dict[str, Record](), dict[str, StoredChunk]()

    def record(self, document_id: str) -> Record | None:
        return self.kept.get(document_id)

    def records(self, source_id: str) -> Iterator[Record]:
        yield from [each for _, each in sorted(self.kept.items()) if each.source_id == source_id]

    def failed(self, source_id: str) -> Sequence[Record]:
        return [each for each in self.records(source_id) if each.failed]

    def put_record(self, record: Record) -> None:
        self.clock.write()
        self.kept[record.id] = record

    def remove_record(self, document_id: str) -> None:
        self.clock.write()
        self.kept.pop(document_id, None)

    def put_chunks(self, chunks: Sequence[StoredChunk]) -> None:
        for chunk in chunks:  # one by one: a bulk write may get half way
            self.clock.write()
            self.all_chunks[chunk.id] = chunk

    def chunks(self, document_id: str) -> Sequence[StoredChunk]:
        return [each for _, each in sorted(self.all_chunks.items()) if each.document_id == document_id]

    def left_over(self, document_id: str, version: str) -> Sequence[StoredChunk]:
        return [each for each in self.chunks(document_id) if each.version != version]

    def remove_chunks(self, ids: Sequence[str]) -> None:
        for key in ids:
            self.clock.write()
            self.all_chunks.pop(key, None)

    def said(
        self, collection: str, sames: Collection[str], *, but: str = "", but_ids: Collection[str] = ()
    ) -> set[str]:
        return {
            each.same
            for each in self.all_chunks.values()
            if each.collection == collection and each.same in sames and not each.twin
            if each.document_id != but and each.id not in but_ids
        }

    def twins(self, collection: str, sames: Collection[str], *, but_ids: Collection[str] = ()) -> Sequence[StoredChunk]:
        first: dict[str, StoredChunk] = {}
        for key, each in sorted(self.all_chunks.items()):
            if each.collection == collection and each.same in sames and each.twin and key not in but_ids:
                first.setdefault(each.same, each)
        return list(first.values())

    def collections(self) -> Sequence[str]:
        return sorted({each.collection for each in self.all_chunks.values()})

    def searched(self, after: str, count: int) -> Sequence[StoredChunk]:
        return [each for key, each in sorted(self.all_chunks.items()) if key > after and not each.twin][:count]

    def searched_count(self) -> int:
        return len(self.searched("", len(self.all_chunks)))


class MemoryOriginals:
    """Implements Originals."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.kept = clock, dict[str, bytes]()

    def keep(self, key: str, data: bytes | BinaryIO) -> None:
        self.clock.write()
        self.kept[key] = data if isinstance(data, bytes) else data.read()

    def read(self, key: str) -> bytes:
        if key not in self.kept:
            raise NotFound
        return self.kept[key]

    def forget(self, key: str) -> None:
        self.clock.write()
        self.kept.pop(key, None)


class MemorySources:
    """Implements SourceStore; `down` makes it fail where people ask."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.kept, self.next_sync = clock, dict[str, Source](), dict[str, datetime]()
        self.down = False

    def put(self, source: Source) -> None:
        _check(self.down)
        before = self.kept.get(source.id)
        if before:
            kept = {"created_at": before.created_at, "last_sync": before.last_sync, "state": before.state}
            source = replace(source, **kept)  # type: ignore[arg-type]
        self.kept[source.id] = source

    def find(self, source_id: str) -> Source | None:
        _check(self.down)
        return self.kept.get(source_id)

    def all(self) -> Sequence[Source]:
        _check(self.down)
        return list(self.kept.values())

    def counts(self) -> Mapping[str, Counts]:
        return {}

    def due(self, moment: datetime) -> Sequence[Source]:
        return [self.kept[key] for key, due in self.next_sync.items() if due <= moment]

    def postpone(self, source_id: str, until: datetime | None) -> None:
        self.next_sync.pop(source_id, None)
        if until:
            self.next_sync[source_id] = until

    def synced(self, source_id: str, moment: datetime, state: str) -> None:
        self.clock.write()
        source = self.kept[source_id] = replace(self.kept[source_id], last_sync=moment, state=state)
        if source.every_hours:
            self.next_sync[source_id] = moment + timedelta(hours=source.every_hours)

    def remove(self, source_id: str) -> None:
        self.clock.write()
        self.kept.pop(source_id, None)


class MemoryJobs:
    """Implements JobStore; leases are the tests' own matter: whoever takes, takes up. `down` as with the sources."""

    def __init__(self) -> None:
        self.down = False
        self.kept = dict[str, Job]()
        self.saved = dict[str, tuple[Mapping[str, object], Progress]]()

    def add(self, job: Job) -> Job:
        _check(self.down)
        for each in self.kept.values():
            if each.open and (each.kind, each.source_id) == (job.kind, job.source_id):
                return each
        self.kept[job.id] = job
        return job

    def find(self, job_id: str) -> Job | None:
        _check(self.down)
        return self.kept.get(job_id)

    def latest(self, source_id: str, *, report: bool) -> Job | None:
        found = next((each for each in reversed(self.kept.values()) if each.source_id == source_id), None)
        return found if found is None or report else replace(found, report=())

    def open(self) -> Sequence[Job]:
        return [each for each in self.kept.values() if each.open]

    def recent(self, count: int) -> Sequence[Job]:
        _check(self.down)
        return [replace(each, report=(), checkpoint={}) for each in reversed(self.kept.values())][:count]

    def want(self, job_id: str, wanted: Wanted) -> Job | None:
        _check(self.down)
        job = self.kept.get(job_id)
        if job is None or not job.open:
            return None
        states: dict[Wanted, JobState] = {"run": "waiting", "pause": "paused", "cancel": "cancelled"}
        state = job.state if job.state == "running" else states[wanted]
        self.kept[job_id] = replace(job, wanted=wanted, state=state)
        return self.kept[job_id]

    def take(self, worker: str, moment: datetime, until: datetime) -> Job | None:
        for job in self.kept.values():
            if job.state in ("waiting", "running"):
                self.kept[job.id] = replace(job, state="running", starts=job.starts + 1)
                return self.kept[job.id]
        return None

    def renew(self, job_id: str, worker: str, until: datetime, progress: Progress) -> Wanted | None:
        return self.kept[job_id].wanted

    def checkpoint(self, job: Job, worker: str, crawl: Mapping[str, object], report: Report) -> None:
        self.kept[job.id] = replace(
            self.kept[job.id], checkpoint=dict(crawl), progress=report.progress, report=tuple(report.lines), starts=0
        )

    def leave(
        self, job: Job, worker: str, state: JobState, moment: datetime, report: Report, *, trouble: str = ""
    ) -> None:
        left = replace(self.kept[job.id], state=state, trouble=trouble)
        if not left.open:
            left = replace(left, progress=report.progress, report=tuple(report.lines), finished_at=moment)
        self.kept[job.id] = left


class MemoryVectors:
    """Implements VectorIndex."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.kept = clock, dict[str, dict[str, Sequence[float]]]()
        self.model = "first"
        self.away: Exception | None = None  # raised instead of telling whose vectors they are
        self.models, self.begun = dict[str, str](), set[str]()

    def nearest(self, collection: str, vectors: Sequence[Sequence[float]], count: int) -> Sequence[Sequence[Hit]]:
        if self.fit(collection) != "whole":
            return [[] for _ in vectors]
        return [[Hit(key, 0.0) for key in list(self.kept.get(collection, {}))[:count]] for _ in vectors]

    def put(self, collection: str, vectors: Mapping[str, Sequence[float]]) -> None:
        self.clock.write()
        if self.models.setdefault(collection, self.model) != self.model:
            raise SearchUnavailable("vectors of another model")
        self.kept.setdefault(collection, {}).update(vectors)

    def remove(self, collection: str, ids: Sequence[str]) -> None:
        self.clock.write()
        for key in ids:
            self.kept.get(collection, {}).pop(key, None)

    def drop(self, collection: str) -> None:
        self.clock.write()
        self.kept.pop(collection, None)
        self.models.pop(collection, None)
        self.begun.discard(collection)

    def begin(self, collection: str) -> None:
        self.drop(collection)
        self.clock.write()
        self.models[collection] = self.model
        self.begun.add(collection)

    def finish(self, collection: str) -> None:
        self.clock.write()
        self.begun.discard(collection)

    def fit(self, collection: str) -> Fit:
        if self.away:
            raise self.away
        if collection not in self.models:
            return "absent"
        if self.models[collection] != self.model:
            return "foreign"
        return "unfinished" if collection in self.begun else "whole"


class MemoryWords:
    """Implements WordsIndex."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.kept = clock, dict[str, Entry]()

    def put(self, entries: Mapping[str, Entry]) -> None:
        self.clock.write()
        self.kept.update(entries)

    def remove(self, ids: Iterable[str]) -> None:
        self.clock.write()
        for key in ids:
            self.kept.pop(key, None)

    def drop(self, collection: str) -> None:
        self.clock.write()
        self.kept = {key: entry for key, entry in self.kept.items() if entry.collection != collection}


def _check(down: bool) -> None:
    if down:
        raise StorageUnavailable("the fake is down")
