"""Admins, their sessions and the audit in memory: what core/admin_ports.py asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from chatproxy.core.admin_ports import Act, Admin, AdminSession
from chatproxy.core.types import Page
from chatproxy.errors import InvalidRequest, StorageUnavailable


class QuickHasher:
    """Implements PasswordHasher in no time; `hashed` and `verified` count."""

    def __init__(self) -> None:
        self.hashed = self.verified = 0

    def hash(self, password: str) -> str:
        self.hashed += 1
        return f"quick${password[::-1]}"

    def verify(self, digest: str, password: str) -> bool:
        self.verified += 1
        return digest == f"quick${password[::-1]}"


class MemoryAdmins:
    """Implements AdminStore."""

    def __init__(self) -> None:
        self.admins: dict[str, Admin] = {}

    def put(self, admin: Admin) -> None:
        self.admins[admin.name] = admin

    def find(self, name: str) -> Admin | None:
        return self.admins.get(name)

    def all(self) -> Sequence[Admin]:
        return list(self.admins.values())

    def remove(self, name: str) -> bool:
        return self.admins.pop(name, None) is not None


class MemoryAdminSessions:
    """Implements AdminSessionStore."""

    def __init__(self) -> None:
        self.sessions: dict[str, AdminSession] = {}

    def add(self, session: AdminSession) -> None:
        self.sessions[session.digest] = session

    def find(self, digest: str) -> AdminSession | None:
        return self.sessions.get(digest)

    def seen(self, digest: str, moment: datetime) -> None:
        if digest in self.sessions:
            self.sessions[digest] = replace(self.sessions[digest], seen_at=moment)

    def remove(self, digest: str) -> None:
        self.sessions.pop(digest, None)

    def remove_all(self, admin: str) -> None:
        self.sessions = {digest: session for digest, session in self.sessions.items() if session.admin != admin}


class MemoryAudit:
    """Implements AuditStore; while it is `away`, nothing can be stored."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.away = False

    def add(self, act: Act) -> None:
        if self.away:
            raise StorageUnavailable("away")
        self.acts.append(act)

    def newest(self, count: int, *, cursor: str | None = None, actor: str = "") -> Page[Act]:
        if cursor is not None and not cursor.isdecimal():
            raise InvalidRequest("cursor: not one that this list has given out")
        if self.away:
            raise StorageUnavailable("away")
        kept = [act for act in reversed(self.acts) if actor in ("", act.actor)]
        begin = int(cursor or 0)
        return Page(kept[begin : begin + count], str(begin + count) if begin + count < len(kept) else None)
