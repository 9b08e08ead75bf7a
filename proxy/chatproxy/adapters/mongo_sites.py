"""Site keys in MongoDB: collection `sites` with _id (the key itself), name, origins, bots, times, limits.

A handful of documents, found by _id or read as a whole: no other index, so no step of the schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chatproxy.adapters.mongo import Database, Document, insert_once
from chatproxy.adapters.mongo_keys import stored_limits
from chatproxy.core.access import Limits, SiteKey


class MongoSites:
    """Implements core.ports.SiteStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, site: SiteKey) -> None:
        """See core.ports.SiteStore."""
        with self._database.collection("sites") as sites:
            insert_once(
                sites,
                {
                    "_id": site.id,
                    "name": site.name,
                    "origins": list(site.origins),
                    "bots": list(site.bots),
                    "created_at": site.created_at,
                    "expires_at": site.expires_at,
                    "revoked_at": site.revoked_at,
                    "limits": stored_limits(site.limits),
                },
            )

    def find(self, site_id: str) -> SiteKey | None:
        """See core.ports.SiteStore."""
        with self._database.collection("sites") as sites:
            document = sites.find_one({"_id": site_id})
        return _site(document) if document else None

    def all(self) -> Sequence[SiteKey]:
        """See core.ports.SiteStore; oldest first."""
        with self._database.collection("sites") as sites:
            return [_site(document) for document in sites.find().sort("created_at", 1)]

    def change(self, site_id: str, origins: Sequence[str], bots: Sequence[str], limits: Limits) -> bool:
        """See core.ports.SiteStore."""
        new = {"origins": list(origins), "bots": list(bots), "limits": stored_limits(limits)}
        with self._database.collection("sites") as sites:
            return sites.update_one({"_id": site_id}, {"$set": new}).matched_count == 1

    def revoke(self, site_id: str, moment: datetime) -> bool:
        """See core.ports.SiteStore; a second revocation keeps the first one's time."""
        with self._database.collection("sites") as sites:
            sites.update_one({"_id": site_id, "revoked_at": None}, {"$set": {"revoked_at": moment}})
            return sites.count_documents({"_id": site_id}, limit=1) == 1


def _site(document: Document) -> SiteKey:
    return SiteKey(
        document["_id"],
        document["name"],
        tuple(document["origins"]),
        document["created_at"],
        tuple(document["bots"]),
        document["expires_at"],
        document["revoked_at"],
        Limits(**document["limits"]),
    )
