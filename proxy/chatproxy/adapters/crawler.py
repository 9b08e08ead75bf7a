"""Walks a website: from its starts and sitemaps along its links, within a scope. Implements core.ports.Crawler.

Every address is asked for once, nearest to a start first. Whatever it gives is told: a page, that it is unchanged, or
why there is nothing. The state moves on when the last result of an address is handed out, so that a crawl that is
killed at any moment goes on from a stored state without a gap; the address at which it was killed is read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from chatproxy.adapters.fetching import Fetcher
from chatproxy.adapters.polite import Cancelled, Pause, PoliteFetcher
from chatproxy.adapters.sitemaps import MOST_BYTES as MOST_SITEMAP_BYTES
from chatproxy.adapters.sitemaps import SitemapError, read_sitemap
from chatproxy.adapters.visiting import Visit, Visitor
from chatproxy.core.boundary import Boundary, is_endless, same_page_key, variant_of
from chatproxy.core.crawling import Crawled, Scope, SkipCode, Skipped, Validators
from chatproxy.core.frontier import CrawlState
from chatproxy.core.knowledge import FetchError
from chatproxy.core.urls import WebAddress, read_page

_MOST_SITEMAPS = 200
# A site that fails so often in a row is down.
_MOST_FAILURES = 10
# Told once, at the end: key in CrawlState.left_out, code, text.
_LEFT_OUT: tuple[tuple[str, SkipCode, str], ...] = (
    ("depth", "limit", "{count} addresses lie more than {scope.depth} links from a start"),
    ("variants", "trap", "{count} addresses differ from {scope.most_variants} others in query or date alone"),
    ("endless", "trap", "{count} addresses repeat their own folders or have too many"),
    ("memory", "limit", "{count} addresses were found when too many were waiting"),
    ("invalid", "invalid", "{count} entries of sitemaps are no web addresses"),
)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class Crawler:
    """Reads websites. Thread-safe, as far as each crawl has a state of its own."""

    def __init__(self, fetcher: Fetcher, *, pause: Pause = _sleep, clock: Callable[[], float] = time.monotonic) -> None:
        """`pause` waits for seconds and says whether to end instead, as threading.Event.wait does."""
        self._fetcher, self._pause, self._clock = fetcher, pause, clock

    def crawl(
        self, scope: Scope, known: Mapping[str, Validators] | None = None, state: CrawlState | None = None
    ) -> Iterator[Crawled]:
        """What `scope` holds. Raises InvalidRequest for a scope that cannot be.

        `known` are the pages read before: each is asked for again, on condition that it has changed. `state` goes on
        from where it was stored and may be stored between any two results. Ends early, with addresses left in the
        state, where `pause` says so.
        """
        boundary = Boundary(scope)
        polite = PoliteFetcher(self._fetcher, boundary, rate_s=scope.rate, pause=self._pause, clock=self._clock)
        return _Crawl(scope, boundary, polite, known or {}, CrawlState() if state is None else state).results()


class _Crawl:
    """One run over one scope."""

    def __init__(
        self,
        scope: Scope,
        boundary: Boundary,
        polite: PoliteFetcher,
        known: Mapping[str, Validators],
        state: CrawlState,
    ) -> None:
        self._scope, self._boundary, self._polite, self._known, self._state = scope, boundary, polite, known, state
        self._visitor = Visitor(scope, boundary, polite, known, state)
        self._failures = 0

    def results(self) -> Iterator[Crawled]:
        state = self._state
        try:
            if not state.begun:
                notices = [*self._begin()]
                state.begun = True
                yield from notices
            while (front := state.front()) and self._goes_on():
                visit = self._visitor.visit(*front)
                *others, last = visit.results
                yield from self._polite.notices()
                yield from others
                self._settle(visit)
                yield last
        except Cancelled:
            return
        if not state.ended:
            state.ended = True
            yield from self._left_out()

    def _goes_on(self) -> bool:
        return not (self._state.ended or self._state.gave_up) and self._state.pages < self._scope.most_pages

    # --- the beginning and the end ----------------------------------------------------------------------------------

    def _begin(self) -> Iterator[Skipped]:
        for start in self._boundary.starts:
            self._offer(start, 0)
        if self._scope.follow != "links":
            yield from self._read_sitemaps()
        for url, validators in self._known.items():
            try:
                address = read_page(url)
                refusal = self._boundary.refusal(address)
            except ValueError as error:
                refusal = str(error)
            if not refusal and validators.depth > self._scope.depth:
                refusal = f"it lies more than {self._scope.depth} links from a start"
            if refusal:
                yield Skipped(url, "out_of_scope", refusal)
            else:
                self._offer(address, validators.depth, known=True)

    def _read_sitemaps(self) -> Iterator[Skipped]:
        """Let all addresses of the sites' sitemaps wait; tell of those sitemaps that could not be read."""
        waiting = {each.url: True for each in self._boundary.sitemaps}  # in order, and whether it should be there
        for start in self._boundary.starts:
            named = self._polite.rules(start).sitemaps()
            waiting.update(dict.fromkeys(named, True))
            if not named and not self._boundary.sitemaps:
                waiting.setdefault(read_page("/sitemap.xml", start.url).url, False)
        done = 0
        while done < len(waiting):  # grows with what indexes name
            url = list(waiting)[done]
            if done == _MOST_SITEMAPS:
                yield Skipped(url, "limit", f"it and all after it are left out: over {_MOST_SITEMAPS} sitemaps")
                return
            try:
                for indexed in self._read_sitemap(url):
                    if len(waiting) <= _MOST_SITEMAPS:
                        waiting.setdefault(indexed, True)
            except (FetchError, SitemapError, ValueError) as error:
                if waiting[url]:
                    reason = error.public if isinstance(error, FetchError) else str(error)
                    yield Skipped(url, "fetch_failed", f"this sitemap cannot be read: {reason}")
            done += 1

    def _read_sitemap(self, url: str) -> Iterator[str]:
        """Let the pages that a sitemap lists wait; yield the sitemaps that it lists."""
        fetched = self._polite.get(read_page(url), most_bytes=MOST_SITEMAP_BYTES)
        if fetched.status != 200:
            raise SitemapError(f"HTTP {fetched.status}")
        for entry in read_sitemap(fetched.body):
            if entry.kind == "sitemap":
                yield entry.url
                continue
            try:
                self._offer(read_page(entry.url, fetched.address.url), 0)
            except ValueError:
                self._state.left_out["invalid"] += 1

    def _left_out(self) -> Iterator[Skipped]:
        state, scope = self._state, self._scope
        start = self._boundary.starts[0].url
        if state.gave_up:
            yield Skipped(
                start, "unreachable", f"{_MOST_FAILURES} failures in a row; {state.waiting} addresses were left"
            )
        elif state.waiting:
            yield Skipped(
                start, "limit", f"{state.waiting} addresses more were found, but most_pages is {scope.most_pages}"
            )
        for why, code, text in _LEFT_OUT:
            if count := state.left_out[why]:
                yield Skipped(start, code, text.format(count=count, scope=scope))

    # --- addresses that are found -----------------------------------------------------------------------------------

    def _settle(self, visit: Visit) -> None:
        """Note what became of the address at the front, and what it led to."""
        state = self._state
        state.done()
        if visit.reached:
            state.see(same_page_key(visit.reached))
        if visit.replaced:
            state.replace(same_page_key(visit.replaced))
        for address, depth in visit.found:
            self._offer(address, depth)
        state.pages += sum(not isinstance(result, Skipped) for result in visit.results)
        self._failures = self._failures + 1 if visit.failed else 0
        if self._failures == _MOST_FAILURES:
            state.gave_up = True

    def _offer(self, address: WebAddress, depth: int, *, known: bool = False) -> None:
        """Let an address wait if it belongs to the crawl and is new; a known one proved once that it is no trap's."""
        state, key = self._state, same_page_key(address)
        if state.has_seen(key) or self._boundary.refusal(address):
            return
        why = "" if known else self._too_much(address, depth)
        if not why and not state.add(address.url, key, depth):
            why = "memory"
        if why:
            state.left_out[why] += 1
            state.see(key)

    def _too_much(self, address: WebAddress, depth: int) -> str:
        if depth > self._scope.depth:
            return "depth"
        if is_endless(address):
            return "endless"
        shape = variant_of(address)
        if shape and self._state.count_variant(shape) > self._scope.most_variants:
            return "variants"
        return ""
