"""API keys: `kb_ID_SECRET`, shown once, stored as a digest of the secret.

A key is looked up for every request, which takes a fraction of a millisecond: remembered ones would go on working for
a while after another process (the command line) has revoked them.

Wrong keys from one address are slowed down: after so many in a minute it gets RateLimited for all but the right ones.
To tell these apart without a look-up for each guess, only keys are looked up whose id is that of a key which works. A
right key is thus never locked out by what else comes from its address, and a guess is not told from a revoked key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from chatproxy.core.access import NO_LIMITS, Identity, KeyRecord, Limits, works
from chatproxy.core.guesses import Guesses
from chatproxy.core.later import Later
from chatproxy.core.ports import KeyStore
from chatproxy.core.types import now
from chatproxy.errors import InvalidRequest, NotFound, RateLimited, Unauthorized

SCOPES = frozenset({"chat", "kobold", "admin"})
LIMITS = {"requests_per_minute": 100_000, "tokens_per_day": 999_999_999, "streams": 4096}
_SHAPE = re.compile(r"kb_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_ID = re.compile(r"[0-9a-f]{16}")
_LONGEST_NAME = 80
# Compared against when no key has that id, so that an unknown id takes as long as a wrong secret.
_NO_DIGEST = "0" * 64
# How often a key's last use is noted, and how old the list of working ids may be while somebody guesses.
_NOTED_EVERY_S = 60.0
_IDS_LAST_S = 2.0


def check_terms(name: str, expires_days: int | None, limits: Limits) -> None:
    """What keys of both kinds are made with. Raises InvalidRequest."""
    if not (name.strip() and name.isprintable() and len(name) <= _LONGEST_NAME):
        raise InvalidRequest(f"name: 1 to {_LONGEST_NAME} printable characters")
    if expires_days is not None and not 1 <= expires_days <= 3650:
        raise InvalidRequest("expires-days: from 1 to 3650")
    check_limits(limits)


def check_limits(limits: Limits) -> None:
    """Raises InvalidRequest for one that no key may have."""
    for field, most in LIMITS.items():
        if not 0 <= (getattr(limits, field) or 0) <= most:
            raise InvalidRequest(f"{field.replace('_', '-')}: from 0 (no limit) to {most}")


def _digest(secret: str) -> str:
    # A plain hash is enough: the secret is 256 random bits, so there is nothing to guess that stretching would slow.
    return hashlib.sha256(secret.encode()).hexdigest()


class Keyring:
    """Makes, checks, lists and revokes keys."""

    def __init__(self, store: KeyStore, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._store, self._clock = store, clock
        self._guesses = Guesses(clock)
        self._later = Later("last-used")
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}
        self._ids: tuple[float, frozenset[str]] | None = None

    def create(
        self, name: str, scopes: frozenset[str], *, expires_days: int | None = None, limits: Limits = NO_LIMITS
    ) -> tuple[str, KeyRecord]:
        """Returns the key itself, which cannot be had again, and its record. Raises InvalidRequest.

        In `limits` None takes the default of the settings, 0 is no limit whatever they say.
        """
        check_terms(name, expires_days, limits)
        if not scopes or not scopes <= SCOPES:
            raise InvalidRequest(f"scopes: one or more of {', '.join(sorted(SCOPES))}")
        key_id, secret, created = secrets.token_hex(8), secrets.token_urlsafe(32), now()
        expires = created + timedelta(days=expires_days) if expires_days else None
        record = KeyRecord(key_id, name, scopes, _digest(secret), created, expires, limits=limits)
        self._store.add(record)
        return f"kb_{key_id}_{secret}", record

    def verify(self, key: str, address: str = "") -> Identity:
        """Who holds `key`, which came from `address`.

        Raises Unauthorized, the same whatever is wrong with it; RateLimited where too many wrong ones came from there.
        """
        closed_s = self._guesses.closed_for(address)
        try:
            record = self._record(key, guessing=closed_s > 0)
        except Unauthorized as error:
            self._guesses.note(address)
            if closed_s:
                raise _slowed(closed_s) from error
            raise
        self._note_use(record.id)
        return Identity(record.id, record.name, record.scopes, record.limits)

    def all(self) -> Sequence[KeyRecord]:
        """Every key's record, revoked and expired ones too."""
        return self._store.all()

    def record(self, key_id: str) -> KeyRecord:
        """The record of the key with this id, whatever its state. Raises NotFound."""
        found = self._store.find(key_id) if _ID.fullmatch(key_id) else None
        if found is None:
            raise _unknown(key_id)
        return found

    def change(self, key_id: str, limits: Limits) -> None:
        """Give the key other limits, as `create` takes them: from the next request on, in every process.

        Raises InvalidRequest, NotFound.
        """
        check_limits(limits)
        if not _ID.fullmatch(key_id) or not self._store.change(key_id, limits):
            raise _unknown(key_id)

    def revoke(self, key_id: str) -> None:
        """The key stops working at once, in every process. Raises NotFound."""
        if not _ID.fullmatch(key_id) or not self._store.revoke(key_id, now()):
            raise _unknown(key_id)

    def forget(self, key_id: str) -> None:
        """Take away a key that was made for a moment; one that somebody had is revoked, so that it stays listed."""
        self._store.remove(key_id)

    def _record(self, key: str, *, guessing: bool) -> KeyRecord:
        shape = _SHAPE.fullmatch(key)
        if not shape:
            raise Unauthorized("malformed key")
        if guessing and shape[1] not in self._working_ids():
            raise Unauthorized("unknown key")
        record = self._store.find(shape[1])
        matches = hmac.compare_digest(record.digest if record else _NO_DIGEST, _digest(shape[2]))
        if not record or not matches:
            raise Unauthorized("unknown key")
        if not works(record, now()):
            raise Unauthorized(f"key {record.id} is revoked or expired")
        return record

    def _working_ids(self) -> frozenset[str]:
        known, moment = self._ids, self._clock()
        if known is None or moment - known[0] > _IDS_LAST_S:
            at = now()
            known = (moment, frozenset(record.id for record in self._store.all() if works(record, at)))
            self._ids = known
        return known[1]

    def _note_use(self, key_id: str) -> None:
        moment = self._clock()
        with self._lock:
            if moment - self._noted.get(key_id, -_NOTED_EVERY_S) < _NOTED_EVERY_S:
                return
            self._noted[key_id] = moment
        used_at = now()
        self._later.do(lambda: self._store.used(key_id, used_at))


def _unknown(key_id: str) -> NotFound:
    return NotFound(f"no key {key_id!r}", public=f"There is no key with the id {key_id!r}.")


def _slowed(seconds: int) -> RateLimited:
    return RateLimited(
        "wrong keys",
        public=f"Too many wrong keys came from this address. Try again in {seconds} seconds.",
        retry_after=seconds,
    )
