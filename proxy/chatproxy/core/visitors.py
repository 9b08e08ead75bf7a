"""Visitors of web pages: what a site key buys. A visitor's token is `kv_` and a signed text; nothing of it is stored.

    [site key's id or "", visitor's id, origin], signed with the time   itsdangerous.URLSafeTimedSerializer

A token opens the chat for 15 minutes and buys the next one, for the same visitor, for 90 days; one that was signed by a
clock that was ahead only buys the next one. It ends with its site key: that is looked up for every request, as API keys
are.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer

from chatproxy.core.access import NO_LIMITS, Identity, SiteKey, Visit
from chatproxy.core.addresses import counted_as
from chatproxy.core.hourly import Hourly
from chatproxy.core.origins import is_origin
from chatproxy.core.ports import UsageStore
from chatproxy.core.sites import Sites
from chatproxy.core.types import new_id, now
from chatproxy.errors import OriginNotAllowed, Unauthorized

VISITOR = "visitor"  # the scope
PREFIX = "kv_"
EXPIRES_IN_S = 900
_RENEWABLE = timedelta(days=90)
_LONGEST_TOKEN = 1000  # characters; ours are shorter than half of it
_OWN_PAGE = "chat-page"  # instead of a site key's id, in the log
_SALT = "chatproxy visitor token 1"
_SIGNING = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
_VISITOR_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Token:
    """What a visitor is given; good for EXPIRES_IN_S seconds."""

    text: str
    visitor: str


@dataclass(frozen=True, slots=True)
class _Signed:
    """What a token says, and how old it is."""

    site: str
    visitor: str
    origin: str
    age: timedelta


class Visitors:
    """Gives visitors their tokens, and knows them by these. Thread-safe."""

    def __init__(
        self,
        sites: Sites,
        usage: UsageStore,
        *,
        secret: str = "",
        own_page: bool = True,
        new_per_hour: int = 0,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """Without a `secret` tokens end with this process. `own_page`: whether visitors need no site key on the
        appliance's own page. `new_per_hour` visitors of one address; 0 = no limit."""
        self._sites, self._own_page, self._clock = sites, own_page, clock
        self._new = Hourly(usage, "new-visitors", new_per_hour, clock=clock)
        secret = secret or secrets.token_urlsafe(32)
        self._serializer = _serializer(secret, clock)

    def enter(self, site_id: str, origin: str | None, own_origin: str) -> Visit:
        """What is there for a visitor of a page of `origin` (None = not told), who needs no token for that.

        `own_origin` is the appliance's: only its own pages have it, and /embed chooses by itself who may frame it.
        Raises OriginNotAllowed, StorageUnavailable.
        """
        origin = own_origin if origin is None else origin
        if not site_id:
            return self._enter_own(origin, own_origin)
        site = self.site(site_id)
        if origin != own_origin and origin not in site.origins:
            raise _not_listed(origin, site)
        return _visit(site, "", origin)

    def issue(self, site_id: str, origin: str | None, own_origin: str, *, address: str, old: str = "") -> Token:
        """A token for the visitor of the token `old`, or for a new visitor where that cannot be renewed here.

        Raises as `enter` does, and RateLimited where too many new visitors came from `address`.
        """
        self.enter(site_id, origin, own_origin)
        origin = own_origin if origin is None else origin
        visitor = self._renewed(old, site_id, origin)
        if not visitor:
            who = counted_as(address)
            self._new.count(f"address:{who}" if who else "", "Too many new visitors came from your network.")
            visitor = new_id()
        return Token(PREFIX + str(self._serializer.dumps([site_id, visitor, origin])), visitor)

    def verify(self, token: str, origin: str | None) -> Identity:
        """Who holds `token`, asking from a page of `origin` (None = not told).

        Raises Unauthorized, the same whatever is wrong with it; OriginNotAllowed, StorageUnavailable.
        """
        signed = self._read(token)
        if signed is None or abs(signed.age) >= timedelta(seconds=EXPIRES_IN_S):
            raise _ended("malformed, forged or expired token")
        site = self._sites.working(signed.site) if signed.site else None
        if site is None and (signed.site or not self._own_page):
            raise _ended(f"a token of {signed.site or 'the own page'}, which works no more")
        if origin is not None and origin != signed.origin:
            public = f"{_told(origin)} is not the origin that this visitor's token was given to."
            raise OriginNotAllowed("another origin than the token's", public=public)
        scopes = frozenset({VISITOR})
        if site is None:
            visit = Visit("", signed.visitor, frozenset({signed.origin}))
            return Identity(_OWN_PAGE, _OWN_PAGE, scopes, NO_LIMITS, visit)
        return Identity(site.id, site.name, scopes, site.limits, _visit(site, signed.visitor, signed.origin))

    def site(self, site_id: str) -> SiteKey:
        """The working key of that id. Raises OriginNotAllowed, StorageUnavailable."""
        site = self._sites.working(site_id)
        if site is None:
            public = "This site key is unknown, expired or revoked. `make keys` lists those that there are."
            raise OriginNotAllowed("no such site key", public=public)
        return site

    def _enter_own(self, origin: str, own_origin: str) -> Visit:
        if origin != own_origin:
            public = f"{_told(origin)} needs a site key, as data-site-key. {_remedy(origin, 'homepage')}"
            raise OriginNotAllowed("no site key", public=public)
        if not self._own_page:
            public = "A site key is needed: this chat has no page of its own (CHAT_PAGE is off)."
            raise OriginNotAllowed("no site key, no own page", public=public)
        return Visit("", "", frozenset({own_origin}))

    def _renewed(self, old: str, site_id: str, origin: str) -> str:
        """The visitor of a token that was given to the same page, "" where it cannot be renewed."""
        signed = self._read(old) if old else None
        if signed is None or signed.age > _RENEWABLE or (signed.site, signed.origin) != (site_id, origin):
            return ""
        return signed.visitor

    def _read(self, token: str) -> _Signed | None:
        """What a token of ours says, however old; None for any other text."""
        if not token.startswith(PREFIX) or len(token) > _LONGEST_TOKEN:
            return None
        try:
            payload, signed_at = self._serializer.loads(token[len(PREFIX) :], return_timestamp=True)
        except (BadData, UnicodeError):
            return None
        match payload:
            case [str(site), str(visitor), str(origin)] if _VISITOR_ID.fullmatch(visitor):
                return _Signed(site, visitor, origin, self._clock() - signed_at)
        return None


def _serializer(secret: str, clock: Callable[[], datetime]) -> URLSafeTimedSerializer:
    class Signer(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(clock().timestamp())

    return URLSafeTimedSerializer(secret, salt=_SALT, signer=Signer, signer_kwargs=_SIGNING)


def _visit(site: SiteKey, visitor: str, origin: str) -> Visit:
    """On the site's own pages a bot must be for the page's origin; on the appliance's, for any of the site's."""
    origins = {origin} if origin in site.origins else site.origins
    return Visit(site.id, visitor, frozenset(origins), frozenset(site.bots))


def _ended(detail: str) -> Unauthorized:
    return Unauthorized(detail, public="This visitor's token is not valid: POST /api/v1/visitors gives another.")


def _not_listed(origin: str, site: SiteKey) -> OriginNotAllowed:
    """What the page's owner finds in the browser's console. Which origins the key has is not for everybody."""
    fact = f"{_told(origin)} is not among the origins of site key {site.id} ({site.name})."
    return OriginNotAllowed(f"not an origin of {site.id}", public=f"{fact} {_remedy(origin, site.name)}")


def _remedy(origin: str, name: str) -> str:
    if not is_origin(origin):
        return "Open the page from a web server: only pages that have an origin can use the chat."
    return f"A key for it: make key NAME={shlex.quote(name)} ORIGINS={origin}"


def _told(origin: str) -> str:
    """An origin as it can stand in a text; a file's or a sandboxed frame's is "null"."""
    return origin if is_origin(origin) else "A page without a web origin"
