"""What has a retention in MongoDB, and the last look at it: collection `operations`, document {_id: "expiry", at,
held_until}.

mongod's own TTL indexes would believe any clock, so on these collections they are set to never (see mongo_migrations);
they still serve to find what is old. Counters, sessions and ended jobs are left to mongod: nobody would miss them.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from chatproxy.adapters.mongo import UNFLUSHED, Database
from chatproxy.core.expiry import Look

# Collection -> the field that tells its age, and how long after it a document goes. Messages before conversations: what
# is left of one that was deleted half-way can still be seen, and goes the next time.
_KEPT = {
    "messages": ("expires_at", timedelta(0)),
    "images": ("expires_at", timedelta(0)),
    "conversations": ("expires_at", timedelta(0)),
    "minutes": ("expires_at", timedelta(0)),
    "audit": ("at", timedelta(days=366)),
}


class MongoExpiry:
    """Implements core.expiry.ExpiryStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self) -> Look | None:
        """See core.expiry.ExpiryStore."""
        with self._database.collection("operations") as operations:
            found = operations.find_one({"_id": "expiry"})
        return Look(found["at"], found["held_until"]) if found else None

    def note(self, look: Look) -> None:
        """See core.expiry.ExpiryStore."""
        with self._database.collection("operations") as operations:
            operations.replace_one({"_id": "expiry"}, {"at": look.at, "held_until": look.held_until}, upsert=True)

    def remove(self, moment: datetime) -> int:
        """See core.expiry.ExpiryStore. What a crash of MongoDB brings back is deleted the next time."""
        removed = 0
        with self._database.opened() as database:
            for name, (field, kept) in _KEPT.items():
                collection = database[name].with_options(write_concern=UNFLUSHED)
                removed += collection.delete_many({field: {"$lte": moment - kept}}).deleted_count
        return removed
