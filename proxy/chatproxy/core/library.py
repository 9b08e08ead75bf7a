"""What people do with sources of knowledge: add, look, read again, take away. The worker does the work."""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from chatproxy.core.boundary import Boundary
from chatproxy.core.crawling import Scope
from chatproxy.core.ingest import original_key
from chatproxy.core.knowledge_ports import DocumentStore, JobStore, Originals, SourceStore
from chatproxy.core.passages import COLLECTION
from chatproxy.core.sources import (
    Counts,
    Job,
    JobKind,
    Record,
    Source,
    SourceKind,
    Upload,
    Wanted,
    digest_of_file,
    document_id,
    source_id,
)
from chatproxy.core.syncing import scope_fields
from chatproxy.core.types import Bot
from chatproxy.errors import InvalidRequest, JobEnded, NotFound, SourceBusy

_LANGUAGE = re.compile(r"[a-z]{2}")
MOST_HOURS = 24 * 366
_LONGEST_NAME = 300
LARGEST_FILE = 100 << 20  # bytes; what adapters/documents.py reads at most


@dataclass(frozen=True, slots=True)
class Shelf:
    """A source, what there is of it, and its latest job."""

    source: Source
    counts: Counts
    job: Job | None


class Library:
    """Every method raises StorageUnavailable where the database is away."""

    def __init__(
        self,
        sources: SourceStore,
        documents: DocumentStore,
        jobs: JobStore,
        originals: Originals,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sources, self._documents, self._jobs, self._originals = sources, documents, jobs, originals
        self._now = now

    def add_website(
        self, collection: str, scope: Scope, *, language: str = "", every_hours: int | None = None
    ) -> tuple[Source, Job]:
        """A website that is to be read, now and every so many hours. Raises InvalidRequest naming the field.

        The same start address in the same collection is the same source: it takes over the new settings. Raises
        SourceBusy while that one is being removed.
        """
        Boundary(scope)
        _check_hours(every_hours)
        source = self._source(collection, "website", scope.start[0], language)
        source = replace(source, scope=scope_fields(scope), every_hours=every_hours)
        self._stop_removal(source.id)
        self._sources.put(source)
        self._postpone(source, self._now())
        return source, self._begin("sync", source.id)

    def add_file(
        self, collection: str, name: str, data: bytes | BinaryIO, *, media_type: str = "", language: str = ""
    ) -> tuple[Source, Job]:
        """A file that is to be read. One of the same name in the same collection is replaced.

        Raises InvalidRequest, and SourceBusy while it is being removed.

        `data` is read twice, piece by piece: it must be seekable.
        """
        if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            raise InvalidRequest(f"name: must be 1 to {_LONGEST_NAME} printable characters.")
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        size = file.seek(0, io.SEEK_END)
        if not size:
            raise InvalidRequest("file: is empty.")
        if size > LARGEST_FILE:
            raise InvalidRequest(f"file: is larger than {LARGEST_FILE >> 20} MB.")
        source = self._source(collection, "file", name, language)
        file.seek(0)
        digest, document = digest_of_file(file), document_id(source.id, name)
        upload = Upload(original_key(document, digest), digest, media_type[:_LONGEST_NAME])
        file.seek(0)
        self._stop_removal(source.id)
        self._originals.keep(upload.original, file)
        before, record = self._sources.find(source.id), self._documents.record(document)
        self._sources.put(replace(source, upload=upload))
        if before and before.upload:
            kept = {upload.original, record.original if record else ""}
            if before.upload.original not in kept:
                self._originals.forget(before.upload.original)
        return source, self._begin("file", source.id)

    def read_every(self, source_key: str, hours: int | None) -> Source:
        """Read a website again every so many hours from now on, None for never. Raises NotFound, InvalidRequest."""
        _check_hours(hours)
        source = self._known(source_key)
        if source.kind != "website":
            raise InvalidRequest("every: is for websites; a file is read when it is given.")
        source = replace(source, every_hours=hours)
        self._sources.put(source)
        self._postpone(source, self._now())
        return source

    def sync(self, source_key: str) -> Job:
        """Read a source again, now. Raises NotFound."""
        source = self._known(source_key)
        return self._begin("sync" if source.kind == "website" else "file", source.id)

    def remove(self, source_key: str) -> Job:
        """Take a source away with everything that was made of it; other work on it ends. Raises NotFound."""
        self._known(source_key)
        for job in self._jobs.open():
            if job.source_id == source_key and job.kind != "remove":
                self._jobs.want(job.id, "cancel")
        return self._begin("remove", source_key)

    def rebuild(self) -> Job:
        """Make vectors and word index anew from the stored chunks."""
        return self._begin("rebuild", "")

    def want(self, job_id: str, wanted: Wanted) -> Job:
        """Pause, resume or cancel a job. Raises NotFound, or JobEnded for one that is not open."""
        job = self._jobs.want(job_id, wanted)
        if job is None:
            raise JobEnded(public=f"This job has ended: it is {self.job(job_id).state}.")
        return job

    def job(self, job_id: str) -> Job:
        """Raises NotFound."""
        job = self._jobs.find(job_id)
        if job is None:
            raise NotFound(public=f"There is no job {job_id[:40]!r}.")
        return job

    def shelves(self) -> Sequence[Shelf]:
        """All sources, oldest first, their jobs without reports."""
        counts = self._sources.counts()
        return [self._shelf(source, counts) for source in self._sources.all()]

    def shelf(self, source_key: str) -> Shelf:
        """Raises NotFound."""
        return self._shelf(self._known(source_key), self._sources.counts(), report=True)

    def failed(self, source_key: str) -> Sequence[Record]:
        """A source's documents that could not be read."""
        return self._documents.failed(source_key)

    def open_jobs(self) -> Sequence[Job]:
        """Jobs that wait, run or are paused, oldest first."""
        return self._jobs.open()

    def recent_jobs(self, count: int) -> Sequence[Job]:
        """The newest jobs, without their reports."""
        return self._jobs.recent(count)

    def schedule(self, moment: datetime) -> None:
        """Begin to read what is due."""
        for source in self._sources.due(moment):
            self._begin("sync", source.id)
            # Whatever becomes of this reading: one that is cancelled is not begun again at once.
            self._postpone(source, moment)

    def _postpone(self, source: Source, moment: datetime) -> None:
        hours = source.every_hours
        self._sources.postpone(source.id, moment + timedelta(hours=hours) if hours else None)

    def _stop_removal(self, source_key: str) -> None:
        """Give up a removal that has not begun: the source is wanted again. Raises SourceBusy for one that has."""
        for job in self._jobs.open():
            if (job.kind, job.source_id) != ("remove", source_key):
                continue
            ended = None if job.state == "running" else self._jobs.want(job.id, "cancel")
            if ended is None or ended.open:
                if ended is not None:  # a worker has begun in this very moment
                    self._jobs.want(job.id, "run")
                raise SourceBusy(public="This source is being removed. Add it again when that is done.")

    def _shelf(self, source: Source, counts: Mapping[str, Counts], *, report: bool = False) -> Shelf:
        latest = self._jobs.latest(source.id, report=report)
        return Shelf(source, counts.get(source.id, Counts()), latest)

    def _known(self, source_key: str) -> Source:
        source = self._sources.find(source_key)
        if source is None:
            raise NotFound(public=f"There is no source {source_key[:40]!r}.")
        return source

    def _source(self, collection: str, kind: SourceKind, location: str, language: str) -> Source:
        if not COLLECTION.fullmatch(collection):
            raise InvalidRequest("collection: must be 1 to 64 of a-z, 0-9, - and _, and begin with a letter or digit.")
        if language and not _LANGUAGE.fullmatch(language):
            raise InvalidRequest("language: must be two letters, as en or de.")
        return Source(source_id(collection, kind, location), collection, kind, location, self._now(), language=language)

    def _begin(self, kind: JobKind, source_key: str) -> Job:
        return self._jobs.add(Job(secrets.token_hex(8), kind, source_key, self._now()))


def collection_of(bot: Bot) -> str:
    """The collection that is filled where a bot is named. Raises InvalidRequest for a bot without any."""
    if not bot.knowledge:
        raise InvalidRequest(f"bot: {bot.id} answers from no collection; `knowledge` in its file names them.")
    return bot.knowledge[0]


def _check_hours(hours: int | None) -> None:
    if hours is not None and not 1 <= hours <= MOST_HOURS:
        raise InvalidRequest(f"every: must be from 1 to {MOST_HOURS} hours.")


def scope_from(start: str, **fields: Any) -> Scope:
    """A scope with one start; fields that are None keep their defaults. Raises InvalidRequest."""
    return Scope(start=(start,), **{name: value for name, value in fields.items() if value is not None})
