"""What each kind of job does. A job can be killed at any moment and goes on from its checkpoint, or from what is left.

sync      crawl a website; take in what is new or changed, remove what has gone
file      take in a file that was given
remove    take a source away with everything that was made of it
rebuild   make vectors and word index anew from the stored chunks
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

from chatproxy.core.crawling import Crawled, Page, Scope, Skipped, Unchanged, Validators
from chatproxy.core.frontier import CrawlState
from chatproxy.core.ingest import Given, Ingest
from chatproxy.core.knowledge_ports import DocumentStore, Originals, SourceStore
from chatproxy.core.passages import Fit
from chatproxy.core.ports import Crawler
from chatproxy.core.sources import Job, JobState, Report, Source, document_id
from chatproxy.errors import NotFound

_REBUILT_AT_ONCE = 256
# Only a visit to an address gives these, and as its last result: then the crawl's state may be stored. What a crawl
# tells at its beginning and end comes several at a time, behind a state that has moved on already.
_LAST_OF_VISITS = frozenset(("vanished", "noindex", "duplicate", "media_type", "fetch_status"))


class Turn(Protocol):
    """A job in a worker's hands."""

    report: Report

    def interrupted(self) -> bool:
        """Whether to stop now: the job goes on some other time, or not at all."""
        ...

    def checkpoint(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """A moment from which the job could go on, with what `state` gives; stored now and then."""
        ...


class Syncing:
    """Runs jobs. Every method raises a ChatProxyError where a service is away."""

    def __init__(
        self,
        ingest: Ingest,
        sources: SourceStore,
        documents: DocumentStore,
        originals: Originals,
        crawler: Crawler,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ingest, self._sources, self._documents = ingest, sources, documents
        self._originals, self._crawler, self._now = originals, crawler, now

    def run(self, job: Job, turn: Turn) -> JobState | None:
        """How the job ended, None where it was interrupted."""
        if job.kind == "rebuild":
            return self._rebuild(job, turn)
        source = self._sources.find(job.source_id)
        if source is None:
            if job.kind == "remove":
                return "done"
            turn.report.say("", "source_removed", "The source is no longer there.")
            return "failed"
        if job.kind == "remove":
            return self._remove(source, turn)
        ended = self._file(source, job, turn) if job.kind == "file" else self._sync(source, job, turn)
        if ended:
            self._sources.synced(source.id, self._now(), ended)
        return ended

    def outdated(self) -> bool:
        """Whether vectors are those of another model than the present one, or are not there: a rebuild is needed."""
        return bool(self._fits() & {"foreign", "unfinished", "absent"})

    # --- websites ---------------------------------------------------------------------------------------------------

    def _sync(self, source: Source, job: Job, turn: Turn) -> JobState | None:
        state = _state_of(job)
        known = {
            record.url: Validators(record.etag, record.last_modified, record.depth)
            for record in self._documents.records(source.id)
        }
        # Of a site of which nothing can be read nothing is taken away: it may be closed, or its new settings wrong.
        gone: list[Skipped] = []
        for crawled in self._crawler.crawl(scope_of(source), known, state):
            if isinstance(crawled, Skipped) and crawled.gone and not turn.report.progress.pages:
                gone.append(crawled)
            else:
                self._take_in(source, crawled, job, turn.report)
            if turn.report.progress.pages:
                for each in gone:
                    self._take_in(source, each, job, turn.report)
                gone.clear()
            turn.report.left(state.waiting)
            # What waits in `gone` is found again from the checkpoint before it.
            if not gone and (not isinstance(crawled, Skipped) or crawled.code in _LAST_OF_VISITS):
                turn.checkpoint(state.to_dict)
            if turn.interrupted():
                return None
        if turn.interrupted():
            return None
        for each in gone:
            turn.report.say(each.url, each.code, each.reason)
        turn.report.left(0)
        return "failed" if state.gave_up or not turn.report.progress.pages else "done"

    def _take_in(self, source: Source, crawled: Crawled, job: Job, report: Report) -> None:
        if isinstance(crawled, Page):
            media_type = f"{crawled.media_type}; charset={crawled.charset}" if crawled.charset else crawled.media_type
            given = Given(crawled.url, crawled.canonical, media_type, crawled.body, crawled.validators)
            self._ingest.store(source, given, job.id, self._now(), report)
        elif isinstance(crawled, Unchanged):
            self._ingest.unchanged(source, crawled.url, job.id, self._now(), report)
        else:
            record = self._documents.record(document_id(source.id, crawled.url)) if crawled.gone else None
            if record:
                self._ingest.forget(record)
                report.count("removed")
            report.say(crawled.url, crawled.code, crawled.reason)

    # --- the others -------------------------------------------------------------------------------------------------

    def _file(self, source: Source, job: Job, turn: Turn) -> JobState | None:
        upload = source.upload
        while upload:
            try:
                data = self._originals.read(upload.original)
            except NotFound:
                data = None
            if data is not None:
                given = Given(source.location, "", upload.media_type, data)
                self._ingest.store(source, given, job.id, self._now(), turn.report)
            # While this one was read, another may have been given in its place.
            latest = self._sources.find(source.id)
            if latest is None or latest.upload == upload:
                break
            source, upload = latest, latest.upload
        progress = turn.report.progress
        return "done" if progress.pages and not progress.errors else "failed"

    def _remove(self, source: Source, turn: Turn) -> JobState | None:
        for record in self._documents.records(source.id):
            self._ingest.forget(record)
            turn.report.count("removed")
            turn.checkpoint(dict)
            if turn.interrupted():
                return None
        if source.upload:
            self._originals.forget(source.upload.original)
        self._sources.remove(source.id)
        return "done"

    def _rebuild(self, job: Job, turn: Turn) -> JobState | None:
        after = str(job.checkpoint.get("after", ""))
        # The model may have been exchanged once more since the job was begun.
        if not job.checkpoint.get("emptied") or self._fits() & {"foreign"}:
            after = ""
            for collection in self._documents.collections():
                self._ingest.begin_anew(collection)
            turn.report.left(self._documents.searched_count())
        while chunks := self._documents.searched(after, _REBUILT_AT_ONCE):
            self._ingest.search_anew(chunks)
            after = chunks[-1].id
            turn.report.count("chunks", len(chunks))
            turn.report.left(max(0, turn.report.progress.todo - len(chunks)))
            position = {"after": after, "emptied": True}
            turn.checkpoint(lambda position=position: position)  # type: ignore[misc]
            if turn.interrupted():
                return None
        for collection in self._documents.collections():
            self._ingest.finish_anew(collection)
        turn.report.left(0)
        return "done"

    def _fits(self) -> set[Fit]:
        return {self._ingest.fit(collection) for collection in self._documents.collections()}


def scope_of(source: Source) -> Scope:
    """The scope that a source was given. Raises InvalidRequest for what cannot be."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in source.scope.items()
    }
    return Scope(**fields)


def scope_fields(scope: Scope) -> dict[str, Any]:
    """A scope as it is stored."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(scope).items()}


def _state_of(job: Job) -> CrawlState:
    try:
        return CrawlState.from_dict(job.checkpoint) if job.checkpoint else CrawlState()
    except ValueError:
        return CrawlState()  # begun by another version of this program: from the beginning, which does no harm
