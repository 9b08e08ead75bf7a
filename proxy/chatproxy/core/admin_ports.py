"""What the console needs of the outside world, and the nouns of it. Times are aware UTC datetimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chatproxy.core.types import Page


@dataclass(frozen=True, slots=True)
class Admin:
    """Somebody who may enter the console. `digest` is the password's, in argon2's own encoding."""

    name: str
    digest: str
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class AdminSession:
    """A log-in that lasts. `digest` is the SHA-256 of what the browser holds; `csrf` stands in its forms.

    It ends at `expires_at`, and earlier where nothing has been asked in it for long.
    """

    digest: str
    admin: str
    csrf: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done to the appliance, or tried: `outcome` is "done" or an error's code.

    `actor` is an admin's name, `key:ID` for the API, `operator` for the command line, `nobody` where nobody is logged
    in. `what` is a verb of ours as `key.revoke`, `subject` what it was done to.
    """

    at: datetime
    actor: str
    address: str
    what: str
    subject: str = ""
    outcome: str = "done"


class PasswordHasher(Protocol):
    """Makes passwords unreadable, slowly."""

    def hash(self, password: str) -> str: ...

    def verify(self, digest: str, password: str) -> bool: ...


class AdminStore(Protocol):
    """Admins by name. Every method raises StorageUnavailable."""

    def put(self, admin: Admin) -> None:
        """Store, in place of one of that name."""
        ...

    def find(self, name: str) -> Admin | None: ...

    def all(self) -> Sequence[Admin]: ...

    def remove(self, name: str) -> bool:
        """Returns False where there is none of that name."""
        ...


class AdminSessionStore(Protocol):
    """Sessions by digest. Every method raises StorageUnavailable."""

    def add(self, session: AdminSession) -> None: ...

    def find(self, digest: str) -> AdminSession | None: ...

    def seen(self, digest: str, moment: datetime) -> None: ...

    def remove(self, digest: str) -> None: ...

    def remove_all(self, admin: str) -> None: ...


class AuditStore(Protocol):
    """What was done, kept for a year. Every method raises StorageUnavailable."""

    def add(self, act: Act) -> None: ...

    def newest(self, count: int, *, cursor: str | None = None, actor: str = "") -> Page[Act]:
        """Newest first; only those of `actor` where one is named. Raises InvalidRequest for a cursor not given out."""
        ...
