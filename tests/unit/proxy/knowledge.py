"""Everything that ingestion needs in memory, a website too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatproxy.core.crawling import Crawled, Page, Scope, Skipped, Unchanged, Validators
from chatproxy.core.frontier import CrawlState
from chatproxy.core.ingest import Ingest
from chatproxy.core.knowledge import Block, Document, DocumentError
from chatproxy.core.library import Library
from chatproxy.core.sources import Job, Report
from chatproxy.core.syncing import Syncing
from chatproxy.core.types import Embedded
from tests.unit.proxy.knowledge_memory import (
    Clock,
    MemoryDocuments,
    MemoryJobs,
    MemoryOriginals,
    MemorySources,
    MemoryVectors,
    MemoryWords,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


class LineParser:
    """Implements Parser: the first line is the title, `# ` begins a heading, the rest is text; b"!" cannot be read."""

    def parse(self, path: Path, media_type: str, name: str) -> Document:
        data = path.read_bytes()
        if data.startswith(b"!"):
            raise DocumentError("document_broken", "The file is damaged.")
        title, *lines = data.decode().split("\n")
        blocks = [
            Block("heading", line[2:], level=2) if line.startswith("# ") else Block("text", line) for line in lines
        ]
        return Document(title, tuple(blocks))


class WordCounter:
    """Implements TokenCounter."""

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def most_read(self) -> int:
        return 40


class LengthEmbedder:
    """Implements Embedder; `error` is raised instead."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> Embedded:
        if self.error:
            raise self.error
        self.texts += texts
        return Embedded([[float(len(text)), 1.0] for text in texts], None)


class MemoryCrawler:
    """Implements Crawler over pages in memory, all linked from each other, in the order of their addresses."""

    def __init__(self, pages: dict[str, str]) -> None:
        self.pages = pages

    def crawl(
        self, scope: Scope, known: Mapping[str, Validators] | None = None, state: CrawlState | None = None
    ) -> Iterator[Crawled]:
        known, state = known or {}, state or CrawlState()
        if not state.begun:
            for url in sorted({*self.pages, *known}):
                state.add(url, url, 0)
            state.begun = True
        while front := state.front():
            url = front[0]
            text, tag = self.pages.get(url), ""
            if text is not None:
                tag = f"{len(text)}-{text[-12:]}"
            state.done()
            if text is None:
                yield Skipped(url, "vanished", "HTTP 404")
            elif url in known and known[url].etag == tag:
                yield Unchanged(url)
            else:
                yield Page(url, url, "text/html", "utf-8", text.encode(), Validators(tag), 0, 0)
        state.ended = True


@dataclass
class Turn:
    """Implements core.syncing.Turn: stores every checkpoint; `stop_after` checkpoints it is interrupted."""

    jobs: MemoryJobs
    job: Job
    report: Report
    stop_after: int | None = None
    stored: int = 0

    def interrupted(self) -> bool:
        return self.stop_after is not None and self.stored >= self.stop_after

    def checkpoint(self, state: Any) -> None:
        self.stored += 1
        self.jobs.checkpoint(self.job, "w", state(), self.report)


@dataclass
class Knowledge:
    """Everything in memory; `pages` is the website."""

    pages: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.documents, self.originals = MemoryDocuments(self.clock), MemoryOriginals(self.clock)
        self.sources, self.jobs = MemorySources(self.clock), MemoryJobs()
        self.vectors, self.words = MemoryVectors(self.clock), MemoryWords(self.clock)
        self.embedder = LengthEmbedder()
        self.ingest = Ingest(
            self.documents, self.originals, LineParser(), WordCounter(), self.embedder, self.vectors, self.words
        )
        self.syncing = Syncing(
            self.ingest, self.sources, self.documents, self.originals, MemoryCrawler(self.pages), now=lambda: NOW
        )
        self.library = Library(self.sources, self.documents, self.jobs, self.originals, now=lambda: NOW)

    def begin(self, collection: str = "site") -> Job:
        """A job that reads the website."""
        return self.library.add_website(collection, Scope(start=("http://a.example/",)))[1]

    def run(self, job: Job, *, stop_after: int | None = None) -> Job:
        """Run a job as far as it goes, from its checkpoint; the job as it is then."""
        taken = self.jobs.kept[job.id]
        turn = Turn(self.jobs, taken, Report(taken.progress, taken.report, taken.unlisted), stop_after)
        state = self.syncing.run(taken, turn)
        self.jobs.leave(taken, "w", state or "waiting", NOW, turn.report)
        return self.jobs.kept[job.id]

    def state(self) -> Any:
        """All that counts at the end."""
        return (
            self.documents.kept,
            self.documents.all_chunks,
            self.originals.kept,
            {name: dict(sorted(kept.items())) for name, kept in self.vectors.kept.items() if kept},
            dict(sorted(self.words.kept.items())),
        )

    def texts(self, *, searched: bool = True) -> list[str]:
        """What the chunks say that are searched, and those that are not."""
        chunks = self.documents.all_chunks.values()
        return sorted(each.chunk.text for each in chunks if not (searched and each.twin))
