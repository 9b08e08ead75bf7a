"""Who may enter the console: admins, their passwords, their sessions.

A session is a random token, of which the browser holds the only copy; it is made anew at every log-in, so that one
which somebody else has put into the browser opens nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
import threading
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from chatproxy.core.admin_ports import Admin, AdminSession, AdminSessionStore, AdminStore, PasswordHasher
from chatproxy.core.hourly import Hourly
from chatproxy.core.ports import UsageStore
from chatproxy.core.types import now
from chatproxy.errors import InvalidRequest, NotFound, WrongPassword

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_SHORTEST_PASSWORD, _LONGEST_PASSWORD = 12, 200  # characters
_LIFETIME, _IDLE = timedelta(hours=12), timedelta(minutes=30)
# How exactly it is known when a session was last used: a page does not cost a write.
_SEEN_EVERY = timedelta(minutes=1)
# Log-ins that fail in an hour: from one address, with one name, and in all. A device has two addresses (IPv4 and IPv6),
# and alone locks nobody out. Counting begins anew when the operator sets a password, who wants to get in then.
_OF_ADDRESS, _OF_NAME, _IN_ALL = 10, 25, 60
_REFUSAL = "There were too many attempts to log in."


class Admins:
    """Knows admins. Every method raises StorageUnavailable. Thread-safe."""

    def __init__(
        self,
        admins: AdminStore,
        sessions: AdminSessionStore,
        hasher: PasswordHasher,
        usage: UsageStore,
        *,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._admins, self._sessions, self._hasher, self._clock = admins, sessions, hasher, clock
        self._attempts = [
            Hourly(usage, f"log-ins-{what}", most, clock=clock)
            for what, most in (("address", _OF_ADDRESS), ("name", _OF_NAME), ("all", _IN_ALL))
        ]
        # A password's hash takes 64 MiB for a tenth of a second: one at a time.
        self._hashing = threading.Lock()
        self._nobodys = ""

    # --- who there is -----------------------------------------------------------------------------------------------

    def set_password(self, name: str, password: str = "") -> str:  # nosec B107 - empty: one is made up
        """Make an admin, or give one another password; without one it is made up. Returns it.

        Whoever is logged in under that name is logged out. Raises InvalidRequest naming the field.
        """
        if not NAME.fullmatch(name):
            raise InvalidRequest("name: must be 1 to 32 of a-z, 0-9, '.', '-' and '_', the first a letter or digit")
        password = unicodedata.normalize("NFC", password) or secrets.token_urlsafe(15)
        if not _SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise InvalidRequest(f"password: must have {_SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters")
        if not password.isprintable():
            raise InvalidRequest("password: must be letters, digits, signs and spaces")
        known, moment = self._admins.find(name), self._clock()
        with self._hashing:
            digest = self._hasher.hash(password)
        self._admins.put(Admin(name, digest, known.created_at if known else moment, moment))
        self._sessions.remove_all(name)
        return password

    def remove(self, name: str) -> None:
        """Raises NotFound."""
        if not self._admins.remove(name):
            raise NotFound(public=f"There is no admin {name[:40]!r}.")
        self._sessions.remove_all(name)

    def all(self) -> Sequence[Admin]:
        """By name."""
        return sorted(self._admins.all(), key=lambda admin: admin.name)

    def knows(self, name: str) -> bool:
        """Whether there is an admin of that name."""
        return NAME.fullmatch(name) is not None and self._admins.find(name) is not None

    # --- who is here ------------------------------------------------------------------------------------------------

    def log_in(self, name: str, password: str, address: str) -> tuple[str, AdminSession]:
        """A new session, and the token that opens it. Raises WrongPassword, RateLimited.

        Nobody learns from it whether the name exists: not by words, not by time.
        """
        well_formed = NAME.fullmatch(name) is not None
        since = max((admin.changed_at.timestamp() for admin in self._admins.all()), default=0)
        counted = (_counted(address), name if well_formed else "", "all")
        counters = [(each, who and f"{who}/{since}") for each, who in zip(self._attempts, counted, strict=True)]
        # Before anything is looked at, so that many at the same moment are no more than the limit.
        hours = [attempts.count(who, _REFUSAL) for attempts, who in counters]
        admin = self._admins.find(name) if well_formed else None
        with self._hashing:
            self._nobodys = self._nobodys or self._hasher.hash(secrets.token_urlsafe(15))
            digest = admin.digest if admin else self._nobodys
            right = self._hasher.verify(digest, unicodedata.normalize("NFC", password[: _LONGEST_PASSWORD + 1]))
        if admin is None or not right:
            raise WrongPassword("log-in")
        for (attempts, who), hour in zip(counters, hours, strict=True):
            if who:
                attempts.give_back(who, hour)
        token, moment = secrets.token_urlsafe(32), self._clock()
        session = AdminSession(_digest(token), name, secrets.token_urlsafe(16), moment, moment, moment + _LIFETIME)
        self._sessions.add(session)
        # The password may have been changed since it was looked up: that change has logged out all it saw.
        present = self._admins.find(name)
        if present is None or present.digest != admin.digest:
            self._sessions.remove(session.digest)
            raise WrongPassword("log-in")
        return token, session

    def session(self, token: str, *, used: bool = True) -> AdminSession | None:
        """The session that a token opens, None where there is none (any more).

        Not `used`: what a page asks by itself keeps no session alive.
        """
        found = self._sessions.find(_digest(token)) if token else None
        moment = self._clock()
        if found is None or moment >= min(found.expires_at, found.seen_at + _IDLE):
            return None
        if used and moment - found.seen_at >= _SEEN_EVERY:
            self._sessions.seen(found.digest, moment)
        return found

    def log_out(self, session: AdminSession) -> None:
        self._sessions.remove(session.digest)


def _counted(address: str) -> str:
    """One address each: inside the VPN a peer has exactly one of either kind, and all are of the same /64."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return ""


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
