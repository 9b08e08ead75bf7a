"""The chunks of the owner's documents, in MongoDB: what Chroma and the word index are made from, and what is cited.

chunks  _id, collection, source_id, document_id, position (in the document, from 0), text, path (the document's title
        and the headings above), url, anchor, page (null where there are no pages), tokens, language, digest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chatproxy.adapters.mongo import Database, Document, again_if_broken
from chatproxy.core.passages import Passage

CHUNKS = "chunks"
_SHOWN = {"document_id": 1, "position": 1, "text": 1, "path": 1, "url": 1, "anchor": 1, "page": 1}


class MongoPassages:
    """Implements core.ports.PassageStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def passages(self, ids: Sequence[str]) -> Mapping[str, Passage]:
        """See core.ports.PassageStore."""
        with self._database.collection(CHUNKS) as chunks:
            found = again_if_broken(lambda: list(chunks.find({"_id": {"$in": list(ids)}}, _SHOWN)))
        return {document["_id"]: passage_of(document) for document in found}


def passage_of(document: Document) -> Passage:
    """The passage that a chunk's document holds."""
    return Passage(
        document["_id"],
        document["document_id"],
        document["position"],
        document["text"],
        tuple(document["path"]),
        document["url"],
        document["anchor"],
        document["page"],
    )
