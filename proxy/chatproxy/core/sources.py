"""The nouns of ingestion: sources, the documents read from them, their stored chunks, and the jobs that do the reading.

All are immutable but Report, which a running job writes into.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, BinaryIO, Literal

from chatproxy.core.knowledge import Chunk

SourceKind = Literal["website", "file"]
JobKind = Literal["sync", "file", "remove", "rebuild"]
JobState = Literal["waiting", "running", "paused", "done", "failed", "cancelled"]
Wanted = Literal["run", "pause", "cancel"]

# What a job's report tells without its being anybody's error.
NOTICES = frozenset(
    (
        "moved",
        "moved_for_now",
        "duplicate",
        "out_of_scope",
        "noindex",
        "media_type",
        "vanished",
        "trap",
        "limit",
        "invalid",
        "warning",
        "fetch_robots",
    )
)
# To be changed when documents should be read again although they are as they were.
_READER = "1"
# Lines of a report that are kept: a site of 50,000 broken pages says nothing more with the 501st.
MOST_LINES = 500
_LONGEST_URL, _LONGEST_MESSAGE = 2000, 500  # characters


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was given: where its bytes are kept, their digest, and what was said of them."""

    original: str
    digest: str
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One website or file. `location` is its start address or file name; `scope` holds core.crawling.Scope's fields.

    `language` (ISO 639-1) is what its documents are in where they do not say; `every_hours` how often a website is read
    again, None for never.
    """

    id: str
    collection: str
    kind: SourceKind
    location: str
    created_at: datetime
    scope: Mapping[str, Any] = field(default_factory=dict)
    language: str = ""
    every_hours: int | None = None
    upload: Upload | None = None
    last_sync: datetime | None = None
    # How the last job ended: "" before the first.
    state: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is of a source: documents with text, their chunks, documents that could not be read."""

    pages: int = 0
    chunks: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One document of a source. `version` names the chunks that count: those of another version are left-overs.

    `etag`, `last_modified` and `depth` are a page's (core.crawling.Validators). `job` is the job that wrote this
    version. A document that failed keeps the version before, if there was one, and has no validators: it is read again.
    """

    id: str
    source_id: str
    collection: str
    url: str
    title: str = ""
    media_type: str = ""
    original: str = ""
    digest: str = ""
    etag: str = ""
    last_modified: str = ""
    depth: int = 0
    version: str = ""
    chunks: int = 0
    job: str = ""
    error_code: str = ""
    error_message: str = ""
    synced_at: datetime | None = None

    @property
    def failed(self) -> bool:
        return bool(self.error_code)


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as it is kept. A `twin` says word for word what another chunk of its collection says under the same
    headings: it is kept, but not searched, until that other one goes."""

    id: str
    collection: str
    source_id: str
    document_id: str
    version: str
    url: str
    language: str
    chunk: Chunk
    same: str
    twin: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a job's report."""

    url: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: documents read (new or changed), unchanged and removed; chunks of those read; errors; what is
    known to be left to do."""

    read: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    errors: int = 0
    todo: int = 0

    @property
    def pages(self) -> int:
        """Documents dealt with that are there now."""
        return self.read + self.unchanged


@dataclass(frozen=True, slots=True)
class Job:
    """Work on a source, or on everything (a rebuild: `source_id` is "").

    `checkpoint` is from where it goes on: {"crawl": CrawlState.to_dict(), ...}, {} at the beginning. `trouble` says
    why it waits although it is its turn (a service is away), and `attempts` how often it has; `starts` counts how often
    it was begun since it last came any further.
    """

    id: str
    kind: JobKind
    source_id: str
    created_at: datetime
    state: JobState = "waiting"
    wanted: Wanted = "run"
    progress: Progress = Progress()
    report: tuple[Line, ...] = ()
    unlisted: int = 0
    trouble: str = ""
    attempts: int = 0
    starts: int = 0
    finished_at: datetime | None = None
    checkpoint: Mapping[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.state in ("waiting", "running", "paused")


class Report:
    """What a running job has done so far. Not thread-safe."""

    def __init__(self, progress: Progress = Progress(), lines: Sequence[Line] = (), unlisted: int = 0) -> None:
        self._counts = {each.name: int(getattr(progress, each.name)) for each in fields(progress)}
        self.lines, self.unlisted = list(lines), unlisted

    @property
    def progress(self) -> Progress:
        return Progress(**self._counts)

    def count(self, name: str, amount: int = 1) -> None:
        self._counts[name] += amount

    def left(self, todo: int) -> None:
        self._counts["todo"] = todo

    def say(self, url: str, code: str, message: str) -> None:
        """Add a line; said twice, as after a resumed crawl, it stands once."""
        # What servers name has no length of its own, and all lines together are one document of MongoDB's.
        line = Line(url[:_LONGEST_URL], code, message[:_LONGEST_MESSAGE])
        if line in self.lines:
            return
        if code not in NOTICES:
            self.count("errors")
        if len(self.lines) < MOST_LINES:
            self.lines.append(line)
        else:
            self.unlisted += 1


def source_id(collection: str, kind: SourceKind, location: str) -> str:
    """16 hexadecimal digits: the same source added twice is one source."""
    return _hashed(8, collection, kind, location)


def document_id(source: str, url: str) -> str:
    return _hashed(16, source, url)


def chunk_id(document: str, chunk: Chunk) -> str:
    return _hashed(16, document, str(chunk.position), chunk.digest)


def sameness(chunk: Chunk) -> str:
    """Equal for chunks that say the same under the same title and headings, whatever their case and spacing.

    The text alone would not do: the opening hours of two shops may well be the same.
    """
    normalised = " ".join(unicodedata.normalize("NFKC", chunk.embedded).casefold().split())
    return _hashed(16, normalised)


def version_of(digest: str, shown: str, language: str) -> str:
    """Names what comes of a document: its bytes, and whatever else its chunks depend on."""
    return _hashed(16, _READER, digest, shown, language)


def digest_of(data: bytes) -> str:
    """32 hexadecimal digits of a document's bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_of_file(file: BinaryIO) -> str:
    """The same of a file, read from where it stands to its end."""
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()  # type: ignore[arg-type]


def _hashed(size: int, *parts: str) -> str:
    hashed = hashlib.blake2b(digest_size=size)
    for part in parts:
        # A length in front: no two lists of parts run together into one text.
        encoded = part.encode("utf-8", "surrogatepass")
        hashed.update(len(encoded).to_bytes(8, "big") + encoded)
    return hashed.hexdigest()
