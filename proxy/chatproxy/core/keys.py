"""API keys: `kb_ID_SECRET`, shown once, stored as a digest of the secret."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import timedelta

from chatproxy.core.ports import KeyStore
from chatproxy.core.types import Identity, KeyRecord, now
from chatproxy.errors import InvalidRequest, NotFound, Unauthorized

SCOPES = frozenset({"chat", "kobold", "admin"})
_SHAPE = re.compile(r"kb_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,80}")
# Compared against when no key has that id, so that an unknown id takes as long as a wrong secret.
_NO_DIGEST = "0" * 64


def _digest(secret: str) -> str:
    # A plain hash is enough: the secret is 256 random bits, so there is nothing to guess that stretching would slow.
    return hashlib.sha256(secret.encode()).hexdigest()


class Keyring:
    """Makes, checks, lists and revokes keys."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    def create(self, name: str, scopes: frozenset[str], *, expires_days: int | None = None) -> tuple[str, KeyRecord]:
        """Returns the key itself, which cannot be had again, and its record. Raises InvalidRequest."""
        if not _NAME.fullmatch(name):
            raise InvalidRequest("name: 1 to 80 printable characters")
        if not scopes or not scopes <= SCOPES:
            raise InvalidRequest(f"scopes: one or more of {', '.join(sorted(SCOPES))}")
        if expires_days is not None and not 1 <= expires_days <= 3650:
            raise InvalidRequest("expires-days: from 1 to 3650")
        key_id, secret, created = secrets.token_hex(8), secrets.token_urlsafe(32), now()
        expires = created + timedelta(days=expires_days) if expires_days else None
        record = KeyRecord(key_id, name, scopes, _digest(secret), created, expires)
        self._store.add(record)
        return f"kb_{key_id}_{secret}", record

    def verify(self, key: str) -> Identity:
        """Who holds `key`. Raises Unauthorized, the same whatever is wrong with it."""
        shape = _SHAPE.fullmatch(key)
        if not shape:
            raise Unauthorized("malformed key")
        record = self._store.find(shape[1])
        matches = hmac.compare_digest(record.digest if record else _NO_DIGEST, _digest(shape[2]))
        if not record or not matches:
            raise Unauthorized("unknown key")
        if record.revoked_at or (record.expires_at and record.expires_at <= now()):
            raise Unauthorized(f"key {record.id} is revoked or expired")
        return Identity(record.id, record.name, record.scopes)

    def all(self) -> Sequence[KeyRecord]:
        """Every key's record, revoked and expired ones too."""
        return self._store.all()

    def revoke(self, key_id: str) -> None:
        """The key stops working at once. Raises NotFound."""
        if not self._store.revoke(key_id, now()):
            raise NotFound(f"no key {key_id!r}", public=f"There is no key with the id {key_id!r}.")
