"""A second crawl, a site in trouble, and a crawl that is stopped or killed and goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate

import pytest

from chatproxy.adapters.crawler import Crawler
from chatproxy.adapters.fetching import Fetcher
from chatproxy.core.crawling import Page, Skipped, Unchanged, Validators
from chatproxy.core.frontier import CrawlState
from tests.unit.proxy.adapters.crawled_site import HTML, Answer, Given, Site, page, redirect
from tests.unit.proxy.adapters.crawls import FETCHER, Time, crawl, pages, scope, serve, skipped


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as running:
        yield running


# --- again, and trouble ---------------------------------------------------------------------------------------------


def test_a_second_crawl_tells_what_changed_what_did_not_and_what_is_gone(site: Site) -> None:
    def tagged(tag: str, answer: Answer) -> Given:
        def conditional(headers: Mapping[str, str]) -> Answer:
            status, given, body = answer
            return (304, {}, b"") if headers.get("if-none-match") == tag else (status, {**given, "ETag": tag}, body)

        return conditional

    serve(site, _=tagged('"1"', page("/a", "/b", "/c")), a=tagged('"1"', page("/d")), b=page(), c=page())
    serve(site, d=tagged('"1"', page()))
    first = crawl(site)
    known = {each.url: each.validators for each in first if isinstance(each, Page)}
    assert len(known) == 5
    serve(site, a=tagged('"2"', page("/new")), b=(410, {}, b""), c=redirect("/new", 301), new=page())
    results = crawl(site, known=known)
    assert [each.url.removeprefix(site.url) for each in results if isinstance(each, Unchanged)] == ["/", "/d"]
    assert sorted(pages(results, site)) == ["/a", "/new"]
    assert skipped(results, site) == {"/b": "vanished", "/c": "moved"}
    assert all(each.gone for each in results if isinstance(each, Skipped))


@pytest.mark.parametrize(("status", "gone"), [(301, True), (308, True), (302, False), (303, False), (307, False)])
@pytest.mark.parametrize("target", ["/maintenance", "/forbidden", "http://login.test/?back=1"])
def test_only_a_permanent_redirect_takes_away_what_was_read_before(
    site: Site, status: int, gone: bool, target: str
) -> None:
    site.answers["/robots.txt"] = (200, {}, b"User-agent: *\nDisallow: /forbidden\n")
    serve(site, a=redirect(target, status), b=redirect(target, status), maintenance=page())
    results = crawl(
        site, start=(f"{site.url}/a",), within="host", known={f"{site.url}/{name}": Validators() for name in "ab"}
    )
    told = [each for each in results if isinstance(each, Skipped)]
    assert [each.url.removeprefix(site.url) for each in told] == ["/a", "/b"]
    assert [each.gone for each in told] == [gone, gone]
    if not gone:
        assert [each.code for each in told] == ["moved_for_now", "moved_for_now"]
        assert all(each.reason.startswith("it leads to http") and " for now" in each.reason for each in told)


def test_a_permanent_redirect_behind_a_temporary_one_is_temporary(site: Site) -> None:
    serve(site, a=redirect("/b", 302), b=redirect("/c", 301), c=page())
    results = crawl(site, start=(f"{site.url}/a",), within="host", known={f"{site.url}/a": Validators()})
    assert skipped(results, site) == {"/a": "moved_for_now"}
    assert pages(results, site) == ["/c"]


def test_known_pages_that_left_the_scope_are_told(site: Site) -> None:
    serve(site, _=page("/a"), a=page())
    results = crawl(site, known={f"{site.url}/a": Validators(), "not an address": Validators()}, exclude=("/a",))
    assert skipped(results, site) == {"/a": "out_of_scope", "not an address": "out_of_scope"}


def busy(times: int, status: int, headers: Mapping[str, str]) -> Given:
    left = [times]

    def answer(_: Mapping[str, str]) -> Answer:
        left[0] -= 1
        return (status, headers, b"") if left[0] >= 0 else page()

    return answer


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        ({"Retry-After": "30"}, [30, 30]),
        ({}, [5, 20]),
        ({"Retry-After": "soon"}, [5, 20]),
        ({"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, [5, 20]),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_given_the_time_it_asks_for(
    site: Site, status: int, headers: dict[str, str], waited: list[float]
) -> None:
    serve(site, _=busy(2, status, headers))
    clock = Time()
    assert pages(crawl(site, time=clock), site) == ["/"]
    assert [wait for wait in clock.waits if wait] == waited


def test_a_date_to_come_back_is_understood(site: Site) -> None:
    serve(site, _=busy(1, 503, {"Retry-After": formatdate(time.time() + 60, usegmt=True)}))
    clock = Time()
    assert pages(crawl(site, time=clock), site) == ["/"]
    assert 55 < max(clock.waits) <= 60


def test_patience_has_an_end(site: Site) -> None:
    serve(site, _=busy(1, 503, {"Retry-After": "86400"}))
    clock = Time()
    assert skipped(crawl(site, time=clock), site) == {"/": "fetch_status"}
    assert max(clock.waits) == 0
    serve(site, _=page(*map(str, range(50))), **{str(n): busy(2, 429, {"Retry-After": "100"}) for n in range(50)})
    clock = Time()
    crawl(site, time=clock)
    assert sum(clock.waits) <= 900


def test_a_site_that_is_down_is_left_and_nothing_of_it_counts_as_gone(site: Site) -> None:
    serve(site, _=page(*map(str, range(50))), **{str(n): (500, {}, b"") for n in range(50)})
    results = crawl(site)
    assert len(site.pages_asked()) == 11
    assert isinstance(results[-1], Skipped)
    assert (results[-1].code, results[-1].reason) == ("unreachable", "10 failures in a row; 40 addresses were left")
    assert not any(each.gone for each in results if isinstance(each, Skipped))


def test_a_page_that_is_too_large_or_refused_is_told(site: Site) -> None:
    small = Fetcher("TestCrawler/1.0", most_bytes=1000)
    serve(site, _=page("/big", "/a"), big=(200, HTML, b"x" * 2000), a=page())
    results = list(Crawler(small).crawl(scope(site)))
    assert skipped(results, site) == {"/big": "fetch_too_large"}
    refused = list(Crawler(small).crawl(scope(site, allowed_private=())))
    assert [each.code for each in refused if isinstance(each, Skipped)] == ["fetch_refused"]


# --- stopping and going on ------------------------------------------------------------------------------------------


def web(site: Site) -> None:
    """30 pages, redirects and doubles among them."""
    for n in range(30):
        site.answers[f"/{n}"] = page(f"/{(n * 7 + 1) % 30}", f"/{(n * 3 + 2) % 30}", f"/to-{n}", f"/v?x={n}")
        site.answers[f"/to-{n}"] = redirect(f"/end-{n}")
        site.answers[f"/end-{n}"] = page()
        site.answers[f"/v?x={n}"] = page(head="<link rel=canonical href=/v>")
    serve(site, _=page("/0"), v=page())


def test_a_crawl_that_is_killed_anywhere_goes_on_to_the_same_set(site: Site) -> None:
    """Killed after each single result in turn, with the state stored after the one before, or after it."""
    web(site)
    whole = {each.url for each in crawl(site) if isinstance(each, Page)}
    assert len(whole) > 40
    read: set[str] = set()
    stored = json.dumps(CrawlState().to_dict())
    runs, late = 0, False
    while not json.loads(stored)["ended"]:
        state = CrawlState.from_dict(json.loads(stored))
        results = Crawler(FETCHER).crawl(scope(site), None, state)
        for taken, result in enumerate(results):
            if isinstance(result, Page):
                read.add(result.url)
            late = not late
            if taken and late:
                break  # killed before the state was stored: this result comes again
            stored = json.dumps(state.to_dict())
            if taken:
                break
        else:
            stored = json.dumps(state.to_dict())
        runs += 1
        assert runs < 400
    assert read == whole


def test_a_crawl_that_is_stopped_ends_before_the_next_request_and_goes_on_later(site: Site) -> None:
    web(site)
    whole = pages(crawl(site), site)
    state = CrawlState()
    first = crawl(site, time=Time(limit=10), state=state)
    assert not state.ended
    asked = len(site.asked)
    rest = crawl(site, state=CrawlState.from_dict(state.to_dict()))
    assert pages(first, site) + pages(rest, site) == whole
    assert 0 < len(pages(first, site)) < len(whole)
    assert len(site.asked) > asked


def test_a_crawl_that_has_ended_gives_nothing_more(site: Site) -> None:
    serve(site, _=page())
    state = CrawlState()
    assert len(crawl(site, state=state)) == 1
    assert crawl(site, state=CrawlState.from_dict(state.to_dict())) == []
