"""Site keys: what stands in a web page and opens the chat to its visitors, from the page's own origins only."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from chatproxy.core.access import NO_LIMITS, Limits, SiteKey, works
from chatproxy.core.keys import check_limits, check_terms
from chatproxy.core.origins import is_origin
from chatproxy.core.ports import SiteStore
from chatproxy.core.types import now
from chatproxy.errors import InvalidRequest, NotFound, StorageUnavailable

_ID = re.compile(r"site_[0-9a-f]{16}")
_BOT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MOST_ORIGINS = _MOST_BOTS = 100
# Browsers ask before and after each call of a page elsewhere: this is how often that costs a look into the store.
_ORIGINS_LAST_S = 2.0


class Sites:
    """Makes, finds, lists and revokes site keys. Thread-safe."""

    def __init__(self, store: SiteStore, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._store, self._clock = store, clock
        self._reading = threading.Lock()
        self._origins: frozenset[str] = frozenset()
        self._read_at: float | None = None

    def create(
        self,
        name: str,
        origins: Sequence[str],
        *,
        bots: Sequence[str] = (),
        expires_days: int | None = None,
        limits: Limits = NO_LIMITS,
    ) -> SiteKey:
        """A new site key. Raises InvalidRequest. In `limits` None takes the default of the settings, 0 is no limit."""
        check_terms(name, expires_days, limits)
        unique_origins, unique_bots = _checked(origins, bots)
        created = now()
        expires = created + timedelta(days=expires_days) if expires_days else None
        site_id = f"site_{secrets.token_hex(8)}"
        site = SiteKey(site_id, name, unique_origins, created, unique_bots, expires, limits=limits)
        self._store.add(site)
        return site

    def working(self, site_id: str) -> SiteKey | None:
        """The key of that id; None where it is unknown, expired or revoked. Raises StorageUnavailable."""
        site = self._store.find(site_id) if _ID.fullmatch(site_id) else None
        return site if site and works(site, now()) else None

    def all(self) -> Sequence[SiteKey]:
        """Every site key, revoked and expired ones too."""
        return self._store.all()

    def record(self, site_id: str) -> SiteKey:
        """The site key of that id, whatever its state. Raises NotFound."""
        found = self._store.find(site_id) if _ID.fullmatch(site_id) else None
        if found is None:
            raise _unknown(site_id)
        return found

    def change(self, site_id: str, origins: Sequence[str], bots: Sequence[str], limits: Limits) -> None:
        """Let the key be for these origins and bots, with these limits, as `create` takes them: from the next request
        on, in every process. Raises InvalidRequest, NotFound.
        """
        check_limits(limits)
        origins, bots = _checked(origins, bots)
        if not _ID.fullmatch(site_id) or not self._store.change(site_id, origins, bots, limits):
            raise _unknown(site_id)

    def revoke(self, site_id: str) -> None:
        """The key and its visitors' tokens stop working at once, in every process. Raises NotFound."""
        if not _ID.fullmatch(site_id) or not self._store.revoke(site_id, now()):
            raise _unknown(site_id)

    def origins(self) -> frozenset[str]:
        """All that a working key lists, as of two seconds ago at most; while the store is away, as last known.

        Never raises, and only one caller at a time waits for the store.
        """
        known_at = self._read_at
        if known_at is not None and self._clock() - known_at <= _ORIGINS_LAST_S:
            return self._origins
        # The very first ones wait: with nothing known yet, they would be told that nothing is allowed.
        if not self._reading.acquire(blocking=known_at is None):
            return self._origins
        try:
            if self._read_at == known_at:
                self._read_origins()
        finally:
            self._reading.release()
        return self._origins

    def _read_origins(self) -> None:
        moment = now()
        try:
            sites = self._store.all()
            self._origins = frozenset(origin for site in sites if works(site, moment) for origin in site.origins)
        except StorageUnavailable:
            pass
        finally:
            self._read_at = self._clock()


def embed_line(site: SiteKey, address: str) -> str:
    """The line that puts the chat of the server at `address` into a page."""
    bot = f' data-bot="{site.bots[0]}"' if site.bots else ""
    return f'<script src="{address}/widget.js"{bot} data-site-key="{site.id}" async></script>'


def policy(address: str) -> str:
    """What a page's Content-Security-Policy has to allow for it."""
    return f"script-src {address}; connect-src {address}"


def _checked(origins: Sequence[str], bots: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both without what stands twice. Raises InvalidRequest."""
    if not 1 <= len(origins) <= _MOST_ORIGINS:
        raise InvalidRequest(f"origins: from 1 to {_MOST_ORIGINS}; without one no page could use the key")
    for origin in origins:
        if not is_origin(origin):
            raise InvalidRequest(f"origins: as browsers send them, not {origin!r}")
    if len(bots) > _MOST_BOTS or not all(_BOT.fullmatch(bot) for bot in bots):
        raise InvalidRequest("bots: names of bots, at most 100")
    return tuple(dict.fromkeys(origins)), tuple(dict.fromkeys(bots))


def _unknown(site_id: str) -> NotFound:
    return NotFound(f"no site key {site_id!r}", public=f"There is no key with the id {site_id!r}.")
