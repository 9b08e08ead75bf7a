"""Sitemaps of every kind, and those that want to do harm."""

from __future__ import annotations

import gzip

import pytest

from chatproxy.adapters.sitemaps import MOST_ENTRIES, SitemapError, read_sitemap

XMLNS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'


def urls(body: str | bytes) -> list[str]:
    return [entry.url for entry in read_sitemap(body.encode() if isinstance(body, str) else body)]


def urlset(*locations: str) -> str:
    return f"{HEAD}<urlset {XMLNS}>{''.join(f'<url><loc>{each}</loc></url>' for each in locations)}</urlset>"


def test_a_sitemap_lists_pages() -> None:
    body = (
        f"{HEAD}<urlset {XMLNS} xmlns:image='http://www.google.com/schemas/sitemap-image/1.1'>"
        "<url><loc> https://example.test/a?b=1&amp;c=2 </loc><lastmod>2026-11-21</lastmod>"
        "<image:image><image:loc>https://example.test/picture.png</image:loc></image:image></url>"
        "<url><priority>1</priority></url><url><loc/></url><url><loc>https://example.test/b</loc></url></urlset>"
    )
    assert urls(body) == ["https://example.test/a?b=1&c=2", "https://example.test/b"]
    assert urls(body.replace(XMLNS, "").encode("utf-8-sig")) == urls(body)


def test_an_index_lists_sitemaps() -> None:
    body = f"<sitemapindex {XMLNS}><sitemap><loc>https://example.test/s.xml.gz</loc></sitemap></sitemapindex>"
    assert [(entry.kind, entry.url) for entry in read_sitemap(body.encode())] == [
        ("sitemap", "https://example.test/s.xml.gz")
    ]


def test_plain_text_and_gzip_are_read() -> None:
    text = "https://example.test/a\r\n\nhttps://example.test/ü\n"
    assert urls(text.encode("utf-8-sig")) == ["https://example.test/a", "https://example.test/ü"]
    assert urls(gzip.compress(text.encode())) == urls(text)
    assert urls(gzip.compress(urlset("https://example.test/a").encode())) == ["https://example.test/a"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f"<!DOCTYPE x [<!ENTITY a 'b'>]><urlset {XMLNS}/>", "XML"),
        (
            '<!DOCTYPE l [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><urlset><url><loc>http://e/&b;</loc></url></urlset>',
            "XML",
        ),
        ('<!DOCTYPE l SYSTEM "http://127.0.0.1/x.dtd"><urlset/>', "XML"),
        ('<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><urlset><url><loc>&a;</loc></url></urlset>', "XML"),
        ("<urlset><url><loc>http://e/</loc>", "XML"),
        ("<!doctype html><p>Not found", "XML"),
        ("Not found", "neither"),
        (gzip.compress(b"x")[:-6], "incomplete"),
        (b"\x1f\x8bnothing", "compression"),
        (gzip.compress(b"\0" * (60 << 20)), "larger than 50 MB"),
        ('<?xml version="1.0" encoding="no-such"?><urlset/>', "XML"),
    ],
    ids=[
        "dtd",
        "bomb",
        "external dtd",
        "external entity",
        "cut",
        "html",
        "text",
        "cut gzip",
        "no gzip",
        "gzip bomb",
        "encoding",
    ],
)
def test_what_is_no_sitemap_or_a_trap_is_told(body: str | bytes, reason: str) -> None:
    with pytest.raises(SitemapError, match=reason):
        urls(body)


def test_what_came_before_a_fault_is_good() -> None:
    entries = read_sitemap(urlset("https://example.test/a").replace("</urlset>", "<oops").encode())
    assert next(entries).url == "https://example.test/a"
    with pytest.raises(SitemapError):
        next(entries)


def test_a_sitemap_is_read_as_far_as_the_protocol_allows() -> None:
    entries = read_sitemap(urlset(*(f"https://example.test/{n}" for n in range(MOST_ENTRIES + 1))).encode())
    read = []
    with pytest.raises(SitemapError, match="more than 50000"):
        for entry in entries:
            read.append(entry.url)
    assert len(read) == MOST_ENTRIES
