"""API keys in MongoDB: collection `keys` with _id (the public id), name, scopes, digest, times, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from pymongo import WriteConcern

from chatproxy.adapters.mongo import Database, Document, insert_once
from chatproxy.core.access import KeyRecord, Limits

# When a key was last used is good to know and no loss: it waits for no disk.
_IN_MEMORY = WriteConcern(w=1, j=False)


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
                    "last_used_at": key.last_used_at,
                    "limits": stored_limits(key.limits),
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

    def change(self, key_id: str, limits: Limits) -> bool:
        """See core.ports.KeyStore."""
        with self._database.collection("keys") as keys:
            return keys.update_one({"_id": key_id}, {"$set": {"limits": stored_limits(limits)}}).matched_count == 1

    def revoke(self, key_id: str, moment: datetime) -> bool:
        """See core.ports.KeyStore; a second revocation keeps the first one's time."""
        with self._database.collection("keys") as keys:
            keys.update_one({"_id": key_id, "revoked_at": None}, {"$set": {"revoked_at": moment}})
            return keys.count_documents({"_id": key_id}, limit=1) == 1

    def remove(self, key_id: str) -> None:
        """See core.ports.KeyStore."""
        with self._database.collection("keys") as keys:
            keys.delete_one({"_id": key_id})

    def used(self, key_id: str, moment: datetime) -> None:
        """See core.ports.KeyStore. $max: what two processes note arrives in any order."""
        with self._database.collection("keys") as keys:
            keys.with_options(write_concern=_IN_MEMORY).update_one({"_id": key_id}, {"$max": {"last_used_at": moment}})


def stored_limits(limits: Limits) -> Document:
    """Only those that are a key's own."""
    return {name: limit for name, limit in asdict(limits).items() if limit is not None}


def _key(document: Document) -> KeyRecord:
    return KeyRecord(
        document["_id"],
        document["name"],
        frozenset(document["scopes"]),
        document["digest"],
        document["created_at"],
        document["expires_at"],
        document["revoked_at"],
        # Keys that were made before there were these have neither.
        document.get("last_used_at"),
        Limits(**document.get("limits", {})),
    )
