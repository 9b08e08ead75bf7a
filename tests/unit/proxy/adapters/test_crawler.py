"""A walk over websites on this machine: what is read, what is not, and why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatproxy.core.crawling import Page, Skipped, Validators
from tests.unit.proxy.adapters.crawled_site import HTML, Answer, Given, Site, page, redirect
from tests.unit.proxy.adapters.crawls import Time, crawl, pages, serve, skipped


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as running:
        yield running


# --- walking --------------------------------------------------------------------------------------------------------


def test_every_page_is_read_once_nearest_first(site: Site) -> None:
    serve(site, _=page("b", "a", "a#x", "a?utm_source=y"), a=page("c", "/"), b=page("./d", "a"), c=page(), d=page("c"))
    results = crawl(site)
    assert pages(results, site) == ["/", "/b", "/a", "/d", "/c"]
    assert [each.depth for each in results if isinstance(each, Page)] == [0, 1, 1, 2, 2]
    assert site.pages_asked() == ["/", "/b", "/a", "/d", "/c"]


def test_nothing_outside_is_asked_for(site: Site) -> None:
    with Site({"/x": page()}) as other:
        serve(site, _=page(f"{other.url}/x", "mailto:a@b", "javascript:x()", "tel:1", "http://[", "/a"), a=page())
        assert pages(crawl(site), site) == ["/", "/a"]
    assert other.asked == []


def test_a_page_says_what_it_is(site: Site) -> None:
    headers = {**HTML, "ETag": '"7"', "Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT"}
    serve(site, _=page("/x", head="<link rel=canonical href='https://elsewhere.test/'>", headers=headers))
    first = crawl(site)[0]
    assert isinstance(first, Page)
    assert (first.media_type, first.charset, first.links) == ("text/html", "utf-8", 1)
    assert first.canonical == "https://elsewhere.test/"
    assert first.validators == Validators('"7"', "Sat, 21 Nov 2026 10:00:00 GMT", 0)


def test_files_are_pages_pictures_and_archives_are_not(site: Site) -> None:
    serve(
        site,
        _=page("/a.pdf", "/b.docx", "/c.png", "/d.zip", "/e.bin", "/File:x.png", "/untyped"),
        **{
            "a.pdf": (200, {"Content-Type": "application/pdf"}, b"%PDF-"),
            "b.docx": (200, {"Content-Type": "application/octet-stream"}, b"PK"),
            "c.png": (200, {"Content-Type": "image/png"}, b"x"),
            "d.zip": (200, {"Content-Type": "application/zip"}, b"PK"),
            "e.bin": (200, {}, b"x"),
            "File:x.png": page(),
            "untyped": (200, {}, b"<p>said to be nothing"),
        },
    )
    results = crawl(site)
    assert pages(results, site) == ["/", "/a.pdf", "/b.docx", "/File:x.png", "/untyped"]
    assert skipped(results, site) == dict.fromkeys(["/c.png", "/d.zip", "/e.bin"], "media_type")
    assert next(each for each in results if isinstance(each, Page) and "docx" in each.url).media_type.endswith(
        "wordprocessingml.document"
    )


def test_depth_is_kept_to_and_told(site: Site) -> None:
    serve(site, _=page("/a"), a=page("/b"), b=page("/c", "/d"), c=page(), d=page())
    results = crawl(site, depth=2)
    assert pages(results, site) == ["/", "/a", "/b"]
    last = results[-1]
    assert isinstance(last, Skipped)
    assert (last.code, last.reason) == ("limit", "2 addresses lie more than 2 links from a start")


def test_no_more_pages_than_asked_for_are_read_and_it_is_told(site: Site) -> None:
    serve(site, _=page("/a", "/b", "/c"), a=page(), b=page(), c=page())
    results = crawl(site, most_pages=2)
    assert pages(results, site) == ["/", "/a"]
    assert isinstance(results[-1], Skipped)
    assert "2 addresses more were found" in results[-1].reason
    assert not results[-1].gone


def test_patterns_choose_and_a_start_is_read_for_its_links(site: Site) -> None:
    serve(site, _=page("/docs/a", "/blog/b", "/docs/old/c"), **{"docs/a": page("/docs/d"), "docs/d": page()})
    results = crawl(site, include=("/docs/*",), exclude=("/docs/old/*",))
    assert pages(results, site) == ["/docs/a", "/docs/d"]
    assert skipped(results, site) == {"/": "out_of_scope"}
    assert site.pages_asked() == ["/", "/docs/a", "/docs/d"]


# --- what sites ask for ---------------------------------------------------------------------------------------------


def test_robots_txt_is_kept_to_ours_before_everybodys(site: Site) -> None:
    robots = b"User-agent: *\nDisallow: /\n\nUser-agent: TestCrawler\nDisallow: /private\nAllow: /private/open$\n"
    site.answers["/robots.txt"] = (200, {}, robots)
    serve(site, _=page("/private", "/private/open", "/a"), a=page(), **{"private/open": page(), "private": page()})
    results = crawl(site)
    assert pages(results, site) == ["/", "/private/open", "/a"]
    assert skipped(results, site) == {"/private": "fetch_robots"}
    assert "/private" not in site.asked
    assert site.asked.count("/robots.txt") == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_robots_txt_that_cannot_be_read_forbids_for_the_time_being(site: Site, status: int) -> None:
    site.answers["/robots.txt"] = (status, {}, b"")
    serve(site, _=page())
    results = crawl(site)
    assert skipped(results, site) == {"/": "fetch_failed"}
    assert not any(isinstance(each, Skipped) and each.gone for each in results)
    assert "/" not in site.asked


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_where_there_is_no_robots_txt_all_is_allowed(site: Site, status: int) -> None:
    site.answers["/robots.txt"] = (status, {}, b"Disallow: /")
    serve(site, _=page())
    assert pages(crawl(site), site) == ["/"]


def test_the_larger_of_both_rates_is_kept(site: Site) -> None:
    serve(site, _=page("/a", "/b"), a=page(), b=page())
    ours = Time()
    crawl(site, time=ours, rate=2.5)
    assert [wait for wait in ours.waits if wait] == [2.5, 2.5, 2.5]
    site.answers["/robots.txt"] = (200, {}, b"User-agent: *\nCrawl-delay: 7\n")
    theirs = Time()
    crawl(site, time=theirs, rate=2.5)
    assert [wait for wait in theirs.waits if wait] == [2.5, 7, 7]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("Crawl-delay: 3600", "3600"),
        ("Request-rate: 1/1h", "3600"),
        (f"Request-rate: 1/{'9' * 400}s", "inf"),
    ],
)
def test_a_rate_that_no_crawl_could_keep_to_is_told_once_and_bounded(site: Site, asked: str, told: str) -> None:
    site.answers["/robots.txt"] = (200, {}, f"User-agent: *\n{asked}\n".encode())
    serve(site, _=page("/a", "/b"), a=page(), b=page())
    clock = Time()
    results = crawl(site, time=clock)
    assert pages(results, site) == ["/", "/a", "/b"]
    assert [wait for wait in clock.waits if wait] == [60, 60]
    (notice,) = [each for each in results if isinstance(each, Skipped)]
    assert (notice.url, notice.code, notice.gone) == (f"{site.url}/robots.txt", "limit", False)
    assert notice.reason == (f"the site's robots.txt asks for {told} seconds between two pages; at most 60 are waited")


def test_noindex_and_nofollow_are_kept_to(site: Site) -> None:
    serve(
        site,
        _=page("/a", "/b", "/c"),
        a=page("/from-a", head="<meta name=robots content=noindex>"),
        b=page("/from-b", head="<meta name=robots content=nofollow>"),
        c=page("/from-c", headers={**HTML, "X-Robots-Tag": "none"}),
        **{"from-a": page()},
    )
    results = crawl(site)
    assert pages(results, site) == ["/", "/b", "/from-a"]
    assert skipped(results, site) == {"/a": "noindex", "/c": "noindex"}


# --- one page, many addresses ---------------------------------------------------------------------------------------


def test_a_page_is_read_at_its_canonical_address(site: Site) -> None:
    canonical = "<link rel=canonical href=/article>"
    serve(site, _=page("/article?print=1", "/article?ref=x"), article=page("/next", head=canonical), next=page())
    site.answers.update({f"/article?{query}": page(head=canonical) for query in ("print=1", "ref=x")})
    results = crawl(site)
    assert pages(results, site) == ["/", "/article", "/next"]
    assert skipped(results, site) == {"/article?print=1": "duplicate", "/article?ref=x": "duplicate"}


def test_canonical_links_that_are_mistakes_lose_no_page(site: Site) -> None:
    home = "<link rel=canonical href=/>"
    serve(
        site,
        _=page("/a", "/b", "/c", head=home),
        a=page(head=home),
        b=page(head="<link rel=canonical href=/c>"),
        c=page(head="<link rel=canonical href=/b>"),
    )
    results = crawl(site)
    assert pages(results, site) == ["/", "/a", "/c"]
    assert skipped(results, site) == {"/b": "duplicate"}


def test_a_redirect_counts_at_its_end_once(site: Site) -> None:
    serve(site, _=page("/old", "/older", "/new"), old=redirect("/new", 301), older=redirect("/old"), new=page("/next"))
    serve(site, next=page())
    results = crawl(site)
    assert pages(results, site) == ["/", "/new", "/next"]
    assert skipped(results, site) == {"/old": "moved", "/older": "moved_for_now"}
    assert site.pages_asked().count("/new") == 1


@pytest.mark.parametrize(
    ("status", "codes"), [(301, ("out_of_scope", "fetch_robots")), (302, ("moved_for_now", "moved_for_now"))]
)
def test_a_redirect_leads_nowhere_that_could_not_be_asked_for(site: Site, status: int, codes: tuple[str, str]) -> None:
    with Site({"/x": page()}) as other:
        site.answers["/robots.txt"] = (200, {}, b"User-agent: *\nDisallow: /private\n")
        serve(site, _=page("/a", "/b", "/c"), c=redirect("/c", status))
        serve(site, a=redirect(f"{other.url}/x", status), b=redirect("/private", status))
        results = crawl(site, exclude=("/login*",))
    assert skipped(results, site) == {"/a": codes[0], "/b": codes[1], "/c": "fetch_failed"}
    assert other.asked == []
    assert "/private" not in site.asked


def test_traps_end(site: Site) -> None:
    def calendar(number: int) -> Answer:
        return page(f"/calendar/{2000 + number // 12}/{number % 12 + 1}", f"/list?page={number}", "deeper/deeper/")

    class Endless(dict[str, Given]):
        def get(self, path: str, default: object = None) -> Given:  # type: ignore[override]
            return (404, {}, b"") if path == "/robots.txt" else calendar(len(site.asked))

    site.answers = Endless()
    results = crawl(site, most_variants=20, depth=100, most_pages=5000)
    read = pages(results, site)
    assert len([url for url in read if url.startswith("/calendar")]) <= 40 + 20 * 3
    assert len([url for url in read if url.startswith("/list")]) <= 20
    assert len(read) < 400
    assert {each.code for each in results if isinstance(each, Skipped)} == {"trap"}


# --- sitemaps -------------------------------------------------------------------------------------------------------


def sitemap(site: Site, *paths: str) -> Answer:
    return 200, {"Content-Type": "text/plain"}, "\n".join(site.url + path for path in paths).encode()


def test_sitemaps_that_robots_txt_names_are_read_and_their_indexes(site: Site) -> None:
    index = f"<sitemapindex><sitemap><loc>{site.url}/2.txt</loc></sitemap></sitemapindex>"
    site.answers["/robots.txt"] = (200, {}, f"Sitemap: {site.url}/index.xml\nSitemap: {site.url}/gone.xml".encode())
    site.answers["/index.xml"] = (200, {}, index.encode())
    site.answers["/2.txt"] = sitemap(site, "/a", "/b", "/b#x", "/private")
    serve(site, _=page("/linked"), a=page("/linked"), b=page(), linked=page())
    results = crawl(site, follow="sitemap", exclude=("/private",))
    assert pages(results, site) == ["/", "/a", "/b"]
    assert skipped(results, site) == {"/gone.xml": "fetch_failed"}
    assert pages(crawl(site, follow="both", exclude=("/private",)), site) == ["/", "/a", "/b", "/linked"]


def test_entries_of_a_sitemap_that_are_no_addresses_are_counted_and_nothing_is_gone_for_them(site: Site) -> None:
    site.answers["/map.txt"] = (200, {}, f"{site.url}/a\nhttp://[\nhttp://".encode())
    serve(site, _=page(), a=page())
    results = crawl(site, follow="sitemap", sitemaps=(f"{site.url}/map.txt",))
    (told,) = [each for each in results if isinstance(each, Skipped)]
    assert (told.url, told.code, told.gone) == (f"{site.url}/", "invalid", False)
    assert told.reason.startswith("2 entries of sitemaps")


def test_an_index_without_end_is_bounded(site: Site) -> None:
    many = "".join(f"<sitemap><loc>{site.url}/{n}.xml</loc></sitemap>" for n in range(1000))
    site.answers["/map.xml"] = (200, {}, f"<sitemapindex>{many}".encode())
    serve(site, _=page())
    results = crawl(site, follow="sitemap", sitemaps=(f"{site.url}/map.xml",))
    assert pages(results, site) == ["/"]
    assert len(site.asked) == 2 + 200
    assert skipped(results, site)["/199.xml"] == "limit"
    assert "XML cannot be read" in next(each.reason for each in results if each.url.endswith("/map.xml"))  # type: ignore[union-attr]


def test_a_sitemap_is_guessed_where_none_is_named_and_its_absence_is_no_failure(site: Site) -> None:
    serve(site, _=page(), a=page())
    assert crawl(site, follow="both")[1:] == []
    site.answers["/sitemap.xml"] = sitemap(site, "/a")
    assert pages(crawl(site, follow="both"), site) == ["/", "/a"]


def test_a_sitemap_leads_no_further_than_links_do(site: Site) -> None:
    with Site({"/x": page()}) as other:
        site.answers["/map.txt"] = (200, {}, f"{other.url}/x\nhttp://169.254.169.254/\n{site.url}/a".encode())
        serve(site, _=page(), a=page())
        results = crawl(site, follow="sitemap", sitemaps=(f"{site.url}/map.txt", f"{other.url}/map.txt"))
    assert pages(results, site) == ["/", "/a"]
    assert other.asked == []
    assert [each.code for each in results if isinstance(each, Skipped)] == ["fetch_failed"]


def test_no_website_leads_the_crawler_to_a_host_that_is_allowed_by_name(site: Site) -> None:
    with Site() as other:
        wipe = f"{other.url}/admin/delete?all=1"
        index = f"<sitemapindex><sitemap><loc>{wipe}</loc></sitemap></sitemapindex>"
        lines = [f"Sitemap: {each}" for each in (wipe, f"{site.url}/index.xml", f"{site.url}/moved.xml")]
        site.answers["/robots.txt"] = (200, {}, "\n".join(lines).encode())
        serve(site, _=page(), **{"index.xml": (200, {}, index.encode()), "moved.xml": redirect(wipe)})
        results = crawl(site, follow="both", allowed_private=(site.authority, other.authority))
        site.answers["/robots.txt"] = redirect(wipe)
        crawl(site, follow="both", allowed_private=(site.authority, other.authority))
    assert [path for path in other.asked if path != "/robots.txt"] == []
    assert pages(results, site) == ["/"]
    assert skipped(results, site) == {wipe: "fetch_failed", "/moved.xml": "fetch_failed"}


def test_a_sitemap_that_the_scope_names_may_lie_on_a_host_that_is_allowed_by_name(site: Site) -> None:
    with Site({"/map.txt": (200, {}, f"{site.url}/a".encode())}) as other:
        serve(site, _=page(), a=page())
        given = {"sitemaps": (f"{other.url}/map.txt",), "allowed_private": (site.authority, other.authority)}
        assert pages(crawl(site, follow="sitemap", **given), site) == ["/", "/a"]
