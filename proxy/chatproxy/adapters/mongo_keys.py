"""API keys in MongoDB: collection `keys` with _id (the public id), name, scopes, digest, times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chatproxy.adapters.mongo import Database, Document, insert_once
from chatproxy.core.types import KeyRecord


class MongoKeys:
    """Implements core.ports.KeyStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: KeyRecord) -> None:
        """See core.ports.KeyStore."""
        with self._database.collection("keys") as keys:
            insert_once(
                keys,
                {
                    "_id": key.id,
                    "name": key.name,
                    "scopes": sorted(key.scopes),
                    "digest": key.digest,
                    "created_at": key.created_at,
                    "expires_at": key.expires_at,
                    "revoked_at": key.revoked_at,
                },
            )

    def find(self, key_id: str) -> KeyRecord | None:
        """See core.ports.KeyStore."""
        with self._database.collection("keys") as keys:
            document = keys.find_one({"_id": key_id})
        return _key(document) if document else None

    def all(self) -> Sequence[KeyRecord]:
        """See core.ports.KeyStore; oldest first."""
        with self._database.collection("keys") as keys:
            return [_key(document) for document in keys.find().sort("created_at", 1)]

    def revoke(self, key_id: str, moment: datetime) -> bool:
        """See core.ports.KeyStore; a second revocation keeps the first one's time."""
        with self._database.collection("keys") as keys:
            keys.update_one({"_id": key_id, "revoked_at": None}, {"$set": {"revoked_at": moment}})
            return keys.count_documents({"_id": key_id}, limit=1) == 1


def _key(document: Document) -> KeyRecord:
    return KeyRecord(
        document["_id"],
        document["name"],
        frozenset(document["scopes"]),
        document["digest"],
        document["created_at"],
        document["expires_at"],
        document["revoked_at"],
    )
