"""Sources of knowledge in MongoDB.

sources  _id, collection, kind, location, scope, language, every_hours, upload {original, digest, media_type},
         created_at, last_sync, next_sync (null where it is not read by itself), state (how its last job ended)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from chatproxy.adapters.mongo import Database, Document, again_if_broken
from chatproxy.core.sources import Counts, Source, Upload


class MongoSources:
    """Implements core.knowledge_ports.SourceStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, source: Source) -> None:
        """See core.knowledge_ports.SourceStore."""
        changed = {
            "collection": source.collection,
            "kind": source.kind,
            "location": source.location,
            "scope": dict(source.scope),
            "language": source.language,
            "every_hours": source.every_hours,
            "upload": asdict(source.upload) if source.upload else None,
        }
        first = {
            "created_at": source.created_at,
            "last_sync": source.last_sync,
            "next_sync": None,
            "state": source.state,
        }
        with self._database.collection("sources") as sources:
            again_if_broken(
                lambda: sources.update_one({"_id": source.id}, {"$set": changed, "$setOnInsert": first}, upsert=True)
            )

    def find(self, source_id: str) -> Source | None:
        """See core.knowledge_ports.SourceStore."""
        with self._database.collection("sources") as sources:
            found = again_if_broken(lambda: sources.find_one({"_id": source_id}))
        return _source(found) if found else None

    def all(self) -> Sequence[Source]:
        """See core.knowledge_ports.SourceStore."""
        with self._database.collection("sources") as sources:
            found = again_if_broken(lambda: list(sources.find().sort([("created_at", 1), ("_id", 1)])))
        return [_source(document) for document in found]

    def counts(self) -> Mapping[str, Counts]:
        """See core.knowledge_ports.SourceStore."""

        def number(condition: Document) -> Document:
            return {"$sum": {"$cond": [condition, 1, 0]}}

        grouped = {
            "$group": {
                "_id": "$source_id",
                "pages": number({"$gt": ["$chunks", 0]}),
                "chunks": {"$sum": "$chunks"},
                "errors": number({"$ne": ["$error_code", ""]}),
            }
        }
        with self._database.collection("documents") as documents:
            found = again_if_broken(lambda: list(documents.aggregate([grouped])))
        return {group["_id"]: Counts(group["pages"], group["chunks"], group["errors"]) for group in found}

    def due(self, moment: datetime) -> Sequence[Source]:
        """See core.knowledge_ports.SourceStore."""
        with self._database.opened() as database:
            due = list(database["sources"].find({"next_sync": {"$lte": moment}}).sort("next_sync", 1))
            ids = [document["_id"] for document in due]
            busy = set(database["jobs"].distinct("source_id", {"open": True, "source_id": {"$in": ids}}))
        return [_source(document) for document in due if document["_id"] not in busy]

    def postpone(self, source_id: str, until: datetime | None) -> None:
        """See core.knowledge_ports.SourceStore."""
        with self._database.collection("sources") as sources:
            again_if_broken(lambda: sources.update_one({"_id": source_id}, {"$set": {"next_sync": until}}))

    def synced(self, source_id: str, moment: datetime, state: str) -> None:
        """See core.knowledge_ports.SourceStore."""
        with self._database.collection("sources") as sources:
            found = sources.find_one({"_id": source_id}, {"every_hours": 1})
            hours = found["every_hours"] if found else None
            next_sync = moment + timedelta(hours=hours) if hours else None
            changed = {"last_sync": moment, "state": state, "next_sync": next_sync}
            again_if_broken(lambda: sources.update_one({"_id": source_id}, {"$set": changed}))

    def remove(self, source_id: str) -> None:
        """See core.knowledge_ports.SourceStore."""
        with self._database.collection("sources") as sources:
            again_if_broken(lambda: sources.delete_one({"_id": source_id}))


def _source(document: Document) -> Source:
    upload = document["upload"]
    return Source(
        document["_id"],
        document["collection"],
        document["kind"],
        document["location"],
        document["created_at"],
        document["scope"],
        document["language"],
        document["every_hours"],
        Upload(**upload) if upload else None,
        document["last_sync"],
        document["state"],
    )
