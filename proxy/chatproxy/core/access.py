"""Who asks, and what they may use: API keys, site keys, visitors. All immutable; times are aware UTC datetimes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from chatproxy.core.types import Bot

# Characters, where a bot names no max_message: what people write, and no visitor's way to fill the disk.
LONGEST_FROM_VISITOR = 8000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key, one visitor or one address may use; None = no limit of its own."""

    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    streams: int | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key as it is stored: `digest` is the SHA-256 of its secret half, in hexadecimal."""

    id: str
    name: str
    scopes: frozenset[str]
    digest: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class SiteKey:
    """What stands in a web page: no secret, but good from `origins` only. Its id, `site_` and 16 hexadecimal digits, is
    the key itself. `bots` are those it opens (none = all); `limits` count for each of its visitors."""

    id: str
    name: str
    origins: tuple[str, ...]
    created_at: datetime
    bots: tuple[str, ...] = ()
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    limits: Limits = NO_LIMITS


def works(record: KeyRecord | SiteKey, moment: datetime) -> bool:
    """Whether a key is neither revoked nor expired."""
    return not record.revoked_at and not (record.expires_at and record.expires_at <= moment)


@dataclass(frozen=True, slots=True)
class Visit:
    """A visitor of a web page, and what decides which bots there are for it.

    `site` is the site key's id, "" for the appliance's own page; `visitor` is "" for somebody who has no token yet.
    A bot that names origins must name one of `origins`; `bots` are those of the site key (none = all).
    """

    site: str
    visitor: str
    origins: frozenset[str]
    bots: frozenset[str] = frozenset()

    @staticmethod
    def longest_message(bot: Bot) -> int:
        """Characters that a visitor's question to this bot may have."""
        return bot.max_message or LONGEST_FROM_VISITOR

    def allows(self, bot: Bot) -> bool:
        """Whether this bot is there for the visitor."""
        listed = not self.bots or bot.id in self.bots
        return listed and (not bot.origins or not self.origins.isdisjoint(bot.origins))


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom an answer is for. `owner` owns what is stored; `payer` is who shares the engine fairly with other payers
    and whose `limits` count; `address` is the client's IP address, "" where there is none. Visitors have a `visit`."""

    owner: str
    payer: str
    address: str = ""
    limits: Limits = NO_LIMITS
    visit: Visit | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking: the verified key, or the visitor's token, behind a request. `key_id` is for the log."""

    key_id: str
    name: str
    scopes: frozenset[str]
    limits: Limits = NO_LIMITS
    visit: Visit | None = None

    @property
    def owner(self) -> str:
        if self.visit:
            return f"site:{self.visit.site}/visitor:{self.visit.visitor}"
        return f"key:{self.key_id}"

    def owner_of(self, user_id: str) -> str:
        """The owner of what this key's holder stores for one of its own users.

        Hashed: a user id can be anything (an e-mail address above all) and does not belong into logs and indexes.
        """
        digest = hashlib.blake2b(user_id.encode(), digest_size=16, person=b"chatproxy user").hexdigest()
        return f"{self.owner}/user:{digest}"

    def caller(self, address: str, user_id: str | None = None) -> Caller:
        """This key's holder, asking from `address` for itself or for one of its users."""
        owner = self.owner if user_id is None else self.owner_of(user_id)
        return Caller(owner, self.owner, address, self.limits, self.visit)
