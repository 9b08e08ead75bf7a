"""What `make backup` leaves in MongoDB: collection `operations`, document {_id: "backup", finished_at}.

It is written when a backup is whole. So the backup itself holds the record of the one before, and a database that was
restored tells when the backup before its own was made.
"""

from __future__ import annotations

from datetime import datetime

import pymongo

from chatproxy.adapters.mongo import Database
from chatproxy.core.condition import Backup

_READ_S = 2.0


class MongoBackups:
    """Implements core.condition.BackupRecord."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self) -> Backup:
        """See core.condition.BackupRecord."""
        with self._database.collection("operations") as operations, pymongo.timeout(_READ_S):
            document = operations.find_one({"_id": "backup"})
        return Backup(document["finished_at"] if document else None)

    def done(self, moment: datetime) -> None:
        """A backup was finished at that moment. Raises StorageUnavailable."""
        with self._database.collection("operations") as operations:
            operations.update_one({"_id": "backup"}, {"$set": {"finished_at": moment}}, upsert=True)
