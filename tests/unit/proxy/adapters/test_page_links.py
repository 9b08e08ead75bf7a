"""What a page says to a crawler, however badly it is written."""

from __future__ import annotations

import time

import pytest

from chatproxy.adapters.page_links import PageLinks, read_links

URL = "https://example.test/docs/a.html"


def read(html: str | bytes, *, charset: str = "", header: str = "") -> PageLinks:
    return read_links(html.encode() if isinstance(html, str) else html, URL, charset, header, "TestCrawler")


def test_links_are_anchors_areas_frames_and_refreshes() -> None:
    page = read(
        "<!doctype html><meta http-equiv=Refresh content='5; url=\"/refreshed\"'><link rel=stylesheet href=/x.css>"
        "<A HREF=' /a '>a</A><area href=/b><iframe src=/c></iframe><img src=/no.png><script src=/no.js></script>"
        "<a name=x>no</a><a href='#part'>no</a><a href=''>no</a><form action=/no></form>"
    )
    assert page.followed == ["/refreshed", "/a", "/b", "/c"]
    assert page.found == 4


def test_nofollow_on_a_link_counts_but_does_not_lead() -> None:
    page = read("<a href=/a rel='noopener NoFollow'>a</a><a href=/b rel=next>b</a>")
    assert (page.followed, page.found) == (["/b"], 2)


@pytest.mark.parametrize(
    ("html", "header", "noindex", "nofollow"),
    [
        ("<meta name=Robots content='NOINDEX'>", "", True, False),
        ("<meta name=robots content='noindex,nofollow'>", "", True, True),
        ("<meta name=robots content=none>", "", True, True),
        ("<meta name=testcrawler content=noindex>", "", True, False),
        ("<meta name=otherbot content=noindex>", "", False, False),
        ("<meta name=robots content='max-snippet:-1, index'>", "", False, False),
        ("", "noindex", True, False),
        ("", "TestCrawler: noindex, nofollow", True, True),
        ("", "otherbot: noindex, nofollow", False, False),
        ("", "nofollow, otherbot: noindex", False, True),
        ("", "unavailable_after: 25 Jun 2030 15:00:00 PST, nofollow", False, True),
    ],
)
def test_pages_and_headers_say_whether_they_want_to_be_found(
    html: str, header: str, noindex: bool, nofollow: bool
) -> None:
    page = read(f"<html><head>{html}</head><body>x</body></html>", header=header)
    assert (page.noindex, page.nofollow) == (noindex, nofollow)


def test_the_first_canonical_and_the_first_base_hold() -> None:
    page = read(
        "<base href='/other/'><base href='/third/'><link rel='alternate canonical' href=' /one '>"
        "<link rel=canonical href=/two>"
    )
    assert (page.base, page.canonical) == ("https://example.test/other/", "/one")


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("<a href='/ü'>".encode("latin-1"), "iso-8859-1"),
        ("<meta charset=iso-8859-1><a href='/ü'>".encode("latin-1"), ""),
        ("<a href='/ü'>".encode(), ""),
        ("<a href='/ü'>".encode(), "no-such-charset"),
        ("<a href='/ü'>".encode("utf-16"), "utf-16"),
        (b"\xef\xbb\xbf" + "<a href='/ü'>".encode(), ""),
    ],
)
def test_links_are_read_in_the_pages_own_encoding(body: bytes, charset: str) -> None:
    assert read(body, charset=charset).followed == ["/ü"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n ",
        b"\0\0\0",
        b"<",
        b"<a href=",
        b"plain text",
        b"\xff\xfe\x00<",
        b"<base href='http://[broken'><a href=/a>",
        b"<!--" * 1000,
    ],
)
def test_broken_pages_give_what_can_be_read(body: bytes) -> None:
    assert read(body).base == URL


@pytest.mark.parametrize("unit", ["<div>", "<a href=/x>", "<!--", "<table><tr>", "<![CDATA[", "&", "<a b=c d='"])
def test_a_page_made_to_take_long_does_not(unit: str) -> None:
    began = time.monotonic()
    read(unit * (2_000_000 // len(unit)))
    assert time.monotonic() - began < 5


def test_links_of_one_page_are_bounded() -> None:
    page = read("<a href=/x>y</a>" * 30_000)
    assert (len(page.followed), page.found) == (20_000, 30_000)
