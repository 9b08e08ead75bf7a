"""One document on its way into what is searched, and out of it again.

    original -> chunks of the new version -> vectors -> words -> old original removed -> record -> left-overs removed

Each step may be done twice, and the record comes after all that it stands for: wherever a worker is killed, doing the
same document again mends it. What a document's record does not name is a left-over, and goes last.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from chatproxy.core.chunking import MOST_TOKENS, chunk
from chatproxy.core.crawling import Validators
from chatproxy.core.knowledge import Chunk, Document, DocumentError
from chatproxy.core.knowledge_ports import DocumentStore, Originals, TokenCounter, WordsIndex
from chatproxy.core.passages import Entry, Fit
from chatproxy.core.ports import Embedder, Parser, VectorIndex
from chatproxy.core.sources import (
    Record,
    Report,
    Source,
    StoredChunk,
    chunk_id,
    digest_of,
    document_id,
    sameness,
    version_of,
)
from chatproxy.errors import NotFound

# Texts in one call to the embeddings service, so few that a visitor's question waits for little. Each text of a call
# costs as much as its longest, so they go by length; on a processor small calls are no slower than large ones.
_EMBEDDED_AT_ONCE = 8
# Vectors in one write: each is a transaction of Chroma's.
_WRITTEN_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Given:
    """A document as it came. `url` names it within its source; `shown` is where people read it, "" for nowhere."""

    url: str
    shown: str
    media_type: str
    data: bytes
    validators: Validators = Validators()  # noqa: RUF009 - frozen

    @property
    def name(self) -> str:
        """What a file of it would be called."""
        is_address = self.url.startswith(("http://", "https://"))
        return PurePosixPath(self.url.partition("?")[0] if is_address else self.url).name


class Ingest:
    """Writes documents into all stores. Every method raises a ChatProxyError where one of them is away."""

    def __init__(
        self,
        documents: DocumentStore,
        originals: Originals,
        parser: Parser,
        tokens: TokenCounter,
        embedder: Embedder,
        vectors: VectorIndex,
        words: WordsIndex,
    ) -> None:
        self._documents, self._originals, self._parser, self._tokens = documents, originals, parser, tokens
        self._embedder, self._vectors, self._words = embedder, vectors, words

    def store(self, source: Source, given: Given, job: str, moment: datetime, report: Report) -> None:
        """Bring one document up to date and tell `report`; a document that cannot be read is told there as well."""
        key, digest = document_id(source.id, given.url), digest_of(given.data)
        before = self._documents.record(key)
        version = version_of(digest, given.shown, source.language)
        if before and before.version == version and not before.failed:
            self._unchanged(before, job, report, given.validators)
            return
        original = original_key(key, digest)
        record = Record(
            key,
            source.id,
            source.collection,
            given.url,
            media_type=given.media_type,
            original=original,
            digest=digest,
            depth=given.validators.depth,
            synced_at=moment,
        )
        if before is None:
            # From here on it is known, so that whatever is written of it can be taken away again.
            self._documents.put_record(record)
        self._originals.keep(original, given.data)
        try:
            document = self._parse(given)
            chunks = self._chunks(document)
        except DocumentError as error:
            report.say(given.url, error.code, error.public)
            last = before or record
            record = replace(record, title=last.title, version=last.version, chunks=last.chunks, job=last.job)
            self._forget_original(before, original)
            self._documents.put_record(replace(record, error_code=error.code, error_message=error.public))
            return
        for warning in document.warnings:
            report.say(given.url, "warning", warning)
        language = (document.language or source.language).partition("-")[0].lower()
        stored = self._with_twins(
            [
                StoredChunk(
                    chunk_id(key, each),
                    source.collection,
                    source.id,
                    key,
                    version,
                    given.shown,
                    language,
                    each,
                    sameness(each),
                )
                for each in chunks
            ]
        )
        self._documents.put_chunks(stored)
        self._search(source.collection, [each for each in stored if not each.twin])
        self._unsearch(source.collection, [each.id for each in stored if each.twin])
        etag, modified = given.validators.etag, given.validators.last_modified
        record = replace(record, title=document.title, version=version, chunks=len(stored), job=job)
        record = replace(record, etag=etag, last_modified=modified)
        # The last moment at which anybody knows of the old one: doing it all again finds the record as it was.
        self._forget_original(before, original)
        self._documents.put_record(record)
        self._settle(record)
        report.count("read")
        report.count("chunks", len(stored))

    def unchanged(self, source: Source, url: str, job: str, moment: datetime, report: Report) -> None:
        """Note that a page is as it was; where its source's language is another now, its kept bytes are read anew."""
        record = self._documents.record(document_id(source.id, url))
        if record is None:
            return
        shown = url
        if record.version != version_of(record.digest, shown, source.language):
            # Its chunks, which may be many, know where people read it, if that is elsewhere.
            chunks = self._documents.chunks(record.id)
            shown = next((each.url for each in chunks if each.version == record.version), url)
        if record.version == version_of(record.digest, shown, source.language):
            self._unchanged(record, job, report, None)
            return
        validators = Validators(record.etag, record.last_modified, record.depth)
        try:
            data = self._originals.read(record.original)
        except NotFound:  # a worker was killed between the old original and the record: next time the page comes whole
            self._documents.put_record(replace(record, etag="", last_modified=""))
            self._unchanged(record, job, report, None)
            return
        self.store(source, Given(url, shown, record.media_type, data, validators), job, moment, report)

    def forget(self, record: Record) -> None:
        """Remove a document from everything."""
        self._remove(record.collection, self._documents.chunks(record.id))
        if record.original:
            self._originals.forget(record.original)
        self._documents.remove_record(record.id)

    def search_anew(self, chunks: Sequence[StoredChunk]) -> None:
        """Put stored chunks into the vectors and the word index."""
        for collection in sorted({each.collection for each in chunks}):
            self._search(collection, [each for each in chunks if each.collection == collection])

    def begin_anew(self, collection: str) -> None:
        """Drop a collection's vectors and words; its chunks stay.

        Where the vectors are another model's the words stay too: they are what is searched until the end.
        """
        if self._vectors.fit(collection) in ("whole", "absent"):
            self._words.drop(collection)
        self._vectors.begin(collection)

    def finish_anew(self, collection: str) -> None:
        """All of a collection has been put back."""
        self._vectors.finish(collection)

    def fit(self, collection: str) -> Fit:
        """See core.ports.VectorIndex."""
        return self._vectors.fit(collection)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _unchanged(self, record: Record, job: str, report: Report, validators: Validators | None) -> None:
        # A worker may have been killed between the record and the left-overs.
        self._settle(record)
        if validators and (record.etag, record.last_modified) != (validators.etag, validators.last_modified):
            self._documents.put_record(
                replace(record, etag=validators.etag, last_modified=validators.last_modified, depth=validators.depth)
            )
        if record.job == job:  # read by this very job, before it was killed
            report.count("read")
            report.count("chunks", record.chunks)
        else:
            report.count("unchanged")

    def _parse(self, given: Given) -> Document:
        with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
            path = Path(folder) / "document"
            path.write_bytes(given.data)
            document = self._parser.parse(path, given.media_type, given.name)
        return document if document.title.strip() else replace(document, title=given.name or given.url)

    def _chunks(self, document: Document) -> list[Chunk]:
        most_read = self._tokens.most_read()
        chunks = chunk(document, self._tokens.count, min(MOST_TOKENS, most_read), most_read)
        if not chunks:
            raise DocumentError("document_empty", "There is no text in it.")
        return chunks

    def _with_twins(self, chunks: Sequence[StoredChunk]) -> list[StoredChunk]:
        first = chunks[0]
        seen = self._documents.said(first.collection, {each.same for each in chunks}, but=first.document_id)
        marked = []
        for each in chunks:
            marked.append(replace(each, twin=each.same in seen))
            seen.add(each.same)
        return marked

    def _search(self, collection: str, chunks: Sequence[StoredChunk]) -> None:
        for begin in range(0, len(chunks), _WRITTEN_AT_ONCE):
            self._vectors.put(collection, embedded(self._embedder, chunks[begin : begin + _WRITTEN_AT_ONCE]))
        if chunks:
            self._words.put(entries(chunks))

    def _unsearch(self, collection: str, ids: Sequence[str]) -> None:
        if ids:
            self._vectors.remove(collection, ids)
            self._words.remove(ids)

    def _settle(self, record: Record) -> None:
        self._remove(record.collection, self._documents.left_over(record.id, record.version))

    def _remove(self, collection: str, chunks: Sequence[StoredChunk]) -> None:
        """Take chunks away; where one was searched on behalf of twins, one of these comes in its place."""
        if not chunks:
            return
        ids = [each.id for each in chunks]
        sames = {each.same for each in chunks if not each.twin}
        sames -= self._documents.said(collection, sames, but_ids=ids)
        heirs = self._documents.twins(collection, sames, but_ids=ids)
        self._search(collection, heirs)
        self._documents.put_chunks([replace(heir, twin=False) for heir in heirs])
        self._unsearch(collection, ids)
        self._documents.remove_chunks(ids)

    def _forget_original(self, before: Record | None, now: str) -> None:
        if before and before.original and before.original != now:
            self._originals.forget(before.original)


def original_key(document: str, digest: str) -> str:
    """Where a document's bytes are kept."""
    return f"{document}-{digest}"


def embedded(embedder: Embedder, chunks: Sequence[StoredChunk]) -> dict[str, Sequence[float]]:
    """Vectors by chunk id. Raises a ChatProxyError where the embedder is away."""
    by_length = sorted(chunks, key=lambda each: len(each.chunk.embedded))
    vectors: dict[str, Sequence[float]] = {}
    for begin in range(0, len(by_length), _EMBEDDED_AT_ONCE):
        part = by_length[begin : begin + _EMBEDDED_AT_ONCE]
        made = embedder.embed([each.chunk.embedded for each in part]).vectors
        vectors.update(zip((each.id for each in part), made, strict=True))
    return vectors


def entries(chunks: Sequence[StoredChunk]) -> dict[str, Entry]:
    """What the word index holds of chunks, by their ids."""
    return {
        each.id: Entry(each.collection, " > ".join(each.chunk.path), each.chunk.text, each.language) for each in chunks
    }
