"""Crawls of websites on this machine, and their results by path."""

from __future__ import annotations

from collections.abc import Mapping

from chatproxy.adapters.connecting import Timeouts
from chatproxy.adapters.crawler import Crawler
from chatproxy.adapters.fetching import Fetcher
from chatproxy.core.crawling import Crawled, Page, Scope, Skipped, Validators
from chatproxy.core.frontier import CrawlState
from tests.unit.proxy.adapters.crawled_site import Given, Site

FETCHER = Fetcher("TestCrawler/1.0 (+https://example.test/)", timeouts=Timeouts(connect_s=2, read_s=2, total_s=5))


class Time:
    """A clock that moves only when the crawler waits; `limit` waits, then it is told to end."""

    def __init__(self, limit: int | None = None) -> None:
        self.now, self.waits, self._limit = 0.0, list[float](), limit

    def pause(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return self._limit is not None and len(self.waits) > self._limit

    def clock(self) -> float:
        return self.now


def scope(site: Site, **fields: object) -> Scope:
    given = {"start": (f"{site.url}/",), "rate": 0, "allowed_private": (site.authority,), "follow": "links", **fields}
    return Scope(**given)  # type: ignore[arg-type]


def crawl(
    site: Site,
    *,
    time: Time | None = None,
    known: Mapping[str, Validators] | None = None,
    state: CrawlState | None = None,
    **fields: object,
) -> list[Crawled]:
    time = time or Time()
    crawler = Crawler(FETCHER, pause=time.pause, clock=time.clock)
    return list(crawler.crawl(scope(site, **fields), known, state))


def pages(results: list[Crawled], site: Site) -> list[str]:
    return [each.url.removeprefix(site.url) for each in results if isinstance(each, Page)]


def skipped(results: list[Crawled], site: Site) -> dict[str, str]:
    return {each.url.removeprefix(site.url): each.code for each in results if isinstance(each, Skipped)}


def serve(site: Site, **answers: Given) -> None:
    """`a=...` is served at /a, `_` at /."""
    site.answers.update({f"/{name.strip('_')}": answer for name, answer in answers.items()})
