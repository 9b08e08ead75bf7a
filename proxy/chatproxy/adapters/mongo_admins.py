"""Admins, their sessions and what they did, in MongoDB: collections `admins`, `admin_sessions`, `audit`.

`admins` has _id (the name), digest, created_at, changed_at; `admin_sessions` _id (the token's SHA-256), admin, csrf,
created_at, seen_at, expires_at, gone by a TTL index; `audit` at, actor, address, what, subject, outcome, gone a year
after by another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from chatproxy.adapters.mongo import Database, Document, insert_once
from chatproxy.core.admin_ports import Act, Admin, AdminSession
from chatproxy.core.types import Page
from chatproxy.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MongoAdmins:
    """Implements core.admin_ports.AdminStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, admin: Admin) -> None:
        """See core.admin_ports.AdminStore."""
        document = {"digest": admin.digest, "created_at": admin.created_at, "changed_at": admin.changed_at}
        with self._database.collection("admins") as admins:
            admins.replace_one({"_id": admin.name}, document, upsert=True)

    def find(self, name: str) -> Admin | None:
        """See core.admin_ports.AdminStore."""
        with self._database.collection("admins") as admins:
            document = admins.find_one({"_id": name})
        return _admin(document) if document else None

    def all(self) -> Sequence[Admin]:
        """See core.admin_ports.AdminStore."""
        with self._database.collection("admins") as admins:
            return [_admin(document) for document in admins.find()]

    def remove(self, name: str) -> bool:
        """See core.admin_ports.AdminStore."""
        with self._database.collection("admins") as admins:
            return admins.delete_one({"_id": name}).deleted_count == 1


class MongoAdminSessions:
    """Implements core.admin_ports.AdminSessionStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, session: AdminSession) -> None:
        """See core.admin_ports.AdminSessionStore."""
        fields = asdict(session)
        with self._database.collection("admin_sessions") as sessions:
            insert_once(sessions, {"_id": fields.pop("digest"), **fields})

    def find(self, digest: str) -> AdminSession | None:
        """See core.admin_ports.AdminSessionStore."""
        with self._database.collection("admin_sessions") as sessions:
            document = sessions.find_one({"_id": digest})
        return AdminSession(digest=document.pop("_id"), **document) if document else None

    def seen(self, digest: str, moment: datetime) -> None:
        """See core.admin_ports.AdminSessionStore."""
        with self._database.collection("admin_sessions") as sessions:
            sessions.update_one({"_id": digest}, {"$max": {"seen_at": moment}})

    def remove(self, digest: str) -> None:
        """See core.admin_ports.AdminSessionStore."""
        with self._database.collection("admin_sessions") as sessions:
            sessions.delete_one({"_id": digest})

    def remove_all(self, admin: str) -> None:
        """See core.admin_ports.AdminSessionStore."""
        with self._database.collection("admin_sessions") as sessions:
            sessions.delete_many({"admin": admin})


class MongoAudit:
    """Implements core.admin_ports.AuditStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, act: Act) -> None:
        """See core.admin_ports.AuditStore."""
        with self._database.collection("audit") as audit:
            audit.insert_one(asdict(act))

    def newest(self, count: int, *, cursor: str | None = None, actor: str = "") -> Page[Act]:
        """See core.admin_ports.AuditStore."""
        query: dict[str, Any] = _behind(cursor) if cursor else {}
        if actor:
            query["actor"] = actor
        with self._database.collection("audit") as audit:
            found = list(audit.find(query).sort([("at", -1), ("_id", -1)]).limit(count + 1))
        last = found[count - 1] if len(found) > count else None
        # Milliseconds since 1970 and the id, which orders acts of the same moment.
        behind = f"{(last['at'] - _EPOCH) // timedelta(milliseconds=1)}-{last['_id']}" if last else None
        return Page([_act(document) for document in found[:count]], behind)


def _behind(cursor: str) -> Document:
    given = re.fullmatch(r"([0-9]{1,14})-([0-9a-f]{24})", cursor)
    if not given:
        raise InvalidRequest("cursor: not one that this list has given out")
    moment = _EPOCH + timedelta(milliseconds=int(given[1]))
    return {"at": {"$lte": moment}, "$or": [{"at": {"$lt": moment}}, {"_id": {"$lt": ObjectId(given[2])}}]}


def _act(document: Document) -> Act:
    return Act(**{name: value for name, value in document.items() if name != "_id"})


def _admin(document: Document) -> Admin:
    return Admin(document["_id"], document["digest"], document["created_at"], document["changed_at"])
