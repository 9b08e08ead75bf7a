"""Documents and their chunks in MongoDB; readers' view of the chunks is mongo_passages.

documents  the fields of core.sources.Record, _id for its id
chunks     _id, collection, source_id, document_id, version, position, text, path, url, anchor, page, tokens, language,
           digest, same (core.sources.sameness), twin
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from typing import TypeVar

from pymongo import DeleteOne, ReplaceOne
from pymongo.collection import Collection as MongoCollection

from chatproxy.adapters.mongo import Database, Document, again_if_broken
from chatproxy.adapters.mongo_passages import CHUNKS
from chatproxy.core.knowledge import Chunk
from chatproxy.core.sources import Record, StoredChunk

DOCUMENTS = "documents"
# Writes of one call; the driver would part them only at 100,000.
_AT_ONCE = 500
_RECORDS_AT_ONCE = 1000
T = TypeVar("T")


class MongoKnowledge:
    """Implements core.knowledge_ports.DocumentStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- documents --------------------------------------------------------------------------------------------------

    def record(self, document_id: str) -> Record | None:
        """See core.knowledge_ports.DocumentStore."""
        found = self._in(DOCUMENTS, lambda documents: documents.find_one({"_id": document_id}))
        return _record(found) if found else None

    def records(self, source_id: str) -> Iterator[Record]:
        """See core.knowledge_ports.DocumentStore."""
        after = ""
        while True:
            where = {"source_id": source_id, "_id": {"$gt": after}}
            page = self._listed(DOCUMENTS, where, _RECORDS_AT_ONCE)
            yield from map(_record, page)
            if len(page) < _RECORDS_AT_ONCE:
                return
            after = page[-1]["_id"]

    def failed(self, source_id: str) -> Sequence[Record]:
        """See core.knowledge_ports.DocumentStore."""
        where = {"source_id": source_id, "error_code": {"$ne": ""}}
        return [_record(document) for document in self._listed(DOCUMENTS, where, 0)]

    def put_record(self, record: Record) -> None:
        """See core.knowledge_ports.DocumentStore."""
        document = asdict(record)
        document["_id"] = document.pop("id")
        self._in(DOCUMENTS, lambda documents: documents.replace_one({"_id": record.id}, document, upsert=True))

    def remove_record(self, document_id: str) -> None:
        """See core.knowledge_ports.DocumentStore."""
        self._in(DOCUMENTS, lambda documents: documents.delete_one({"_id": document_id}))

    # --- chunks -----------------------------------------------------------------------------------------------------

    def put_chunks(self, chunks: Sequence[StoredChunk]) -> None:
        """See core.knowledge_ports.DocumentStore."""
        writes = [ReplaceOne({"_id": chunk.id}, _document(chunk), upsert=True) for chunk in chunks]
        for begin in range(0, len(writes), _AT_ONCE):
            with self._database.opened(growing=True) as database:
                part = writes[begin : begin + _AT_ONCE]
                again_if_broken(lambda part=part: database[CHUNKS].bulk_write(part))  # type: ignore[misc]

    def chunks(self, document_id: str) -> Sequence[StoredChunk]:
        """See core.knowledge_ports.DocumentStore."""
        return [chunk_of(found) for found in self._listed(CHUNKS, {"document_id": document_id})]

    def left_over(self, document_id: str, version: str) -> Sequence[StoredChunk]:
        """See core.knowledge_ports.DocumentStore."""
        where = {"document_id": document_id, "version": {"$ne": version}}
        return [chunk_of(found) for found in self._listed(CHUNKS, where)]

    def remove_chunks(self, ids: Sequence[str]) -> None:
        """See core.knowledge_ports.DocumentStore."""
        for begin in range(0, len(ids), _AT_ONCE):
            writes = [DeleteOne({"_id": key}) for key in ids[begin : begin + _AT_ONCE]]
            self._in(CHUNKS, lambda kept, part=writes: kept.bulk_write(part))  # type: ignore[misc]

    def said(
        self, collection: str, sames: Collection[str], *, but: str = "", but_ids: Collection[str] = ()
    ) -> set[str]:
        """See core.knowledge_ports.DocumentStore."""
        where: Document = {"collection": collection, "same": {"$in": sorted(sames)}, "twin": False}
        if but:
            where["document_id"] = {"$ne": but}
        if but_ids:
            where["_id"] = {"$nin": list(but_ids)}
        return set(self._in(CHUNKS, lambda chunks: chunks.distinct("same", where))) if sames else set()

    def twins(self, collection: str, sames: Collection[str], *, but_ids: Collection[str] = ()) -> Sequence[StoredChunk]:
        """See core.knowledge_ports.DocumentStore."""
        if not sames:
            return []
        where = {"collection": collection, "same": {"$in": sorted(sames)}, "twin": True, "_id": {"$nin": list(but_ids)}}
        first: dict[str, StoredChunk] = {}
        for found in self._listed(CHUNKS, where):
            first.setdefault(found["same"], chunk_of(found))
        return list(first.values())

    def collections(self) -> Sequence[str]:
        """See core.knowledge_ports.DocumentStore."""
        return sorted(self._in(CHUNKS, lambda chunks: chunks.distinct("collection")))

    def searched(self, after: str, count: int) -> Sequence[StoredChunk]:
        """See core.knowledge_ports.DocumentStore."""
        return [chunk_of(found) for found in self._listed(CHUNKS, {"_id": {"$gt": after}, "twin": False}, count)]

    def searched_count(self) -> int:
        """See core.knowledge_ports.DocumentStore."""
        return self._in(CHUNKS, lambda chunks: chunks.count_documents({"twin": False}))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _in(self, name: str, operation: Callable[[MongoCollection[Document]], T]) -> T:
        with self._database.collection(name) as collection:
            return again_if_broken(lambda: operation(collection))

    def _listed(self, name: str, where: Document, count: int = 0) -> list[Document]:
        return self._in(name, lambda collection: list(collection.find(where).sort("_id", 1).limit(count)))


def _record(document: Document) -> Record:
    return Record(id=document.pop("_id"), **document)


def _document(stored: StoredChunk) -> Document:
    chunk = stored.chunk
    return {
        "_id": stored.id,
        "collection": stored.collection,
        "source_id": stored.source_id,
        "document_id": stored.document_id,
        "version": stored.version,
        "position": chunk.position,
        "text": chunk.text,
        "path": list(chunk.path),
        "url": stored.url,
        "anchor": chunk.anchor,
        "page": chunk.page,
        "tokens": chunk.tokens,
        "language": stored.language,
        "digest": chunk.digest,
        "same": stored.same,
        "twin": stored.twin,
    }


def chunk_of(document: Document) -> StoredChunk:
    """The chunk that a stored document holds."""
    chunk = Chunk(
        document["text"],
        tuple(document["path"]),
        document["anchor"],
        document["page"],
        document["position"],
        document["tokens"],
    )
    return StoredChunk(
        document["_id"],
        document["collection"],
        document["source_id"],
        document["document_id"],
        document["version"],
        document["url"],
        document["language"],
        chunk,
        document["same"],
        document["twin"],
    )
