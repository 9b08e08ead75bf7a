"""Requests as a site wishes them: robots.txt kept (RFC 9309), not too fast, and patient with a busy server."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from protego import Protego

from chatproxy.adapters.fetching import Fetched, Fetcher, OnRedirect, Wanted
from chatproxy.core.boundary import Boundary
from chatproxy.core.crawling import SkipCode, Skipped, Validators
from chatproxy.core.knowledge import FetchError
from chatproxy.core.urls import WebAddress, read

# Waits for so many seconds; true when the crawl should end instead. threading.Event.wait is one.
Pause = Callable[[float], bool]

# RFC 9309, section 2.5: at least 500 kibibytes.
_MOST_ROBOTS_BYTES = 1 << 20
# At an hour between two pages 1,000 of them would take six weeks, and everything else waits behind them.
_LONGEST_DELAY_S = 60.0
_BUSY = frozenset((429, 502, 503, 504))
# Seconds before the second and the third try where the server names none.
_WAITS_S = (5.0, 20.0)
_LONGEST_WAIT_S = 180.0
# Seconds that one crawl waits for busy servers in all.
_PATIENCE_S = 900.0


class Cancelled(Exception):
    """The crawl is to end: it can go on later from its state."""


@dataclass(frozen=True, slots=True)
class SiteRules:
    """A site's robots.txt, or why there is none to be kept to."""

    rules: Protego | None = None
    unreadable: str = ""
    # The site itself is not to be asked, for its robots.txt or anything else: why.
    refused: str = ""

    def refusal(self, address: WebAddress, agent: str) -> tuple[SkipCode, str] | None:
        """Why `address` is not read, None where it is.

        A file that cannot be read forbids everything, but only for the time being: not fetch_robots.
        """
        if self.refused:
            return "fetch_refused", self.refused
        if self.unreadable:
            return "fetch_failed", f"robots.txt cannot be read: {self.unreadable}"
        if self.rules and not self.rules.can_fetch(address.url, agent):
            return "fetch_robots", "robots.txt does not allow it"
        return None

    def delay_s(self, agent: str) -> float:
        """Seconds that the site wants between two requests."""
        if not self.rules:
            return 0.0
        rate = self.rules.request_rate(agent)
        try:
            asked_s = rate.seconds / rate.requests if rate and rate.requests else 0.0
        except OverflowError:
            asked_s = math.inf
        return max(self.rules.crawl_delay(agent) or 0.0, asked_s)

    def sitemaps(self) -> list[str]:
        return list(self.rules.sitemaps) if self.rules else []


class PoliteFetcher:
    """One crawl's way to the web. Not thread-safe. Every method raises Cancelled."""

    def __init__(
        self,
        fetcher: Fetcher,
        boundary: Boundary,
        *,
        rate_s: float,
        pause: Pause,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rate_s`: seconds between two requests to a host; robots.txt may ask for more."""
        self._fetcher, self._boundary, self._rate_s = fetcher, boundary, rate_s
        self._pause, self._clock = pause, clock
        # The name under which robots.txt may speak to us: what stands in front of the version.
        self.agent = fetcher.user_agent.partition("/")[0].strip()
        self._sites: dict[str, SiteRules] = {}
        self._next: dict[str, float] = {}
        self._notices: list[Skipped] = []
        self._patience_s = _PATIENCE_S

    def rules(self, address: WebAddress) -> SiteRules:
        """The robots.txt of an address's site, read once."""
        site = f"{address.scheme}://{address.authority}"
        if site not in self._sites:
            url = f"{site}/robots.txt"
            self._sites[site] = self._read_rules(url)
            asked_s = self._sites[site].delay_s(self.agent)
            if asked_s > _LONGEST_DELAY_S:
                reason = f"the site's robots.txt asks for {asked_s:.10g} seconds between two pages"
                self._notices.append(Skipped(url, "limit", f"{reason}; at most {_LONGEST_DELAY_S:g} are waited"))
        return self._sites[site]

    def notices(self) -> list[Skipped]:
        """What there is to tell of the sites since this was asked last."""
        notices, self._notices = self._notices, []
        return notices

    def get(
        self,
        address: WebAddress,
        *,
        validators: Validators | None = None,
        on_redirect: OnRedirect | None = None,
        wanted: Wanted | None = None,
        most_bytes: int | None = None,
    ) -> Fetched:
        """See Fetcher.fetch; waits for the host's turn, and again while it is busy. Raises FetchError."""
        asked_s = min(self.rules(address).delay_s(self.agent), _LONGEST_DELAY_S)
        delay_s = max(self._rate_s, asked_s)
        return self._patiently(address, delay_s, validators, on_redirect, wanted, most_bytes)

    def _patiently(
        self,
        address: WebAddress,
        delay_s: float,
        validators: Validators | None = None,
        on_redirect: OnRedirect | None = None,
        wanted: Wanted | None = None,
        most_bytes: int | None = None,
    ) -> Fetched:
        def redirected(target: WebAddress, permanently: bool) -> None:
            if on_redirect:
                on_redirect(target, permanently)
            self._take_turn(target, delay_s)

        for wait_s in (*_WAITS_S, math.inf):
            self._take_turn(address, delay_s)
            try:
                fetched = self._fetcher.fetch(
                    address.url,
                    allowed=self._boundary.allowed_for(address),
                    validators=validators,
                    on_redirect=redirected,
                    wanted=wanted,
                    most_bytes=most_bytes,
                )
            except FetchError as error:
                if error.code != "fetch_failed" or not self._waits(wait_s):
                    raise
                continue
            if fetched.status not in _BUSY:
                break
            asked_s = _retry_after_s(fetched)
            if not self._waits(wait_s if asked_s is None or wait_s == math.inf else asked_s):
                break
        return fetched

    def _take_turn(self, address: WebAddress, delay_s: float) -> None:
        self._wait(max(0.0, self._next.get(address.host, 0.0) - self._clock()))
        self._next[address.host] = self._clock() + delay_s

    def _waits(self, seconds: float) -> bool:
        """Wait for a busy server; False where that is asked too much."""
        if seconds > min(_LONGEST_WAIT_S, self._patience_s):
            return False
        self._patience_s -= seconds
        self._wait(seconds)
        return True

    def _wait(self, seconds: float) -> None:
        if self._pause(seconds):
            raise Cancelled

    def _read_rules(self, url: str) -> SiteRules:
        try:
            fetched = self._patiently(read(url), self._rate_s, most_bytes=_MOST_ROBOTS_BYTES)
        except FetchError as error:
            return (
                SiteRules(refused=error.public) if error.code == "fetch_refused" else SiteRules(unreadable=error.public)
            )
        if 200 <= fetched.status < 300:
            return SiteRules(Protego.parse(fetched.body.decode("utf-8-sig", "replace")))
        # RFC 9309, section 2.3.1: there is none, or we may not know it; 429 is a server's trouble like 5xx.
        if 300 <= fetched.status < 500 and fetched.status != 429:
            return SiteRules()
        return SiteRules(unreadable=f"HTTP {fetched.status}")


def _retry_after_s(fetched: Fetched) -> float | None:
    """Retry-After in seconds, from a number or a date; None where the server says nothing usable."""
    value = fetched.headers.get("retry-after", "").strip()
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the latter for a year or an offset of twenty digits
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
