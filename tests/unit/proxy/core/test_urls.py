"""An address is read as browsers read it, and looks the same however it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core.urls import LONGEST_URL, read, read_hosts, read_page


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("HTTP://Example.TEST", "http://example.test/"),
        ("https://example.test:443/a", "https://example.test/a"),
        ("http://example.test:8080", "http://example.test:8080/"),
        ("http://example.test./a#b", "http://example.test/a"),
        ("http://example.test/a/./b/../c", "http://example.test/a/c"),
        ("http://example.test/%7euser/%e4%41", "http://example.test/~user/%E4A"),
        ("http://example.test/ü ö?ä=ß", "http://example.test/%C3%BC%20%C3%B6?%C3%A4=%C3%9F"),
        ("http://bücher.test/", "http://xn--bcher-kva.test/"),
        ("http://example.test\\a\\b", "http://example.test/a/b"),
        (" http://exa\tmple.test/\r\na ", "http://example.test/a"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://[0:0::1]:80/", "http://[::1]/"),
        ("http://example.test?", "http://example.test/"),
    ],
)
def test_one_address_has_one_spelling(text: str, url: str) -> None:
    assert read(text).url == url


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("b.html", "https://example.test/docs/b.html"),
        ("../b", "https://example.test/b"),
        ("/b", "https://example.test/b"),
        ("//other.test/b", "https://other.test/b"),
        ("?q=1", "https://example.test/docs/a.html?q=1"),
        ("#part", "https://example.test/docs/a.html"),
        ("\\\\other.test\\b", "https://other.test/b"),
    ],
)
def test_a_link_is_read_where_it_stands(link: str, url: str) -> None:
    assert read(link, "https://example.test/docs/a.html").url == url


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not an address"),
        ("/only/a/path", "not an address"),
        ("mailto:me@example.test", "begins with mailto:"),
        ("ftp://example.test/", "begins with ftp:"),
        ("http://me@example.test/", "user name"),
        ("http://:secret@example.test/", "user name"),
        ("http://a..b/", "host name"),
        ("http://exa$mple.test/", "host name"),
        ("http://" + "a" * 64 + ".test/", "host name"),
        ("http://1.2.3.4.5/", "not an address"),
        ("http://example.test/" + "a" * LONGEST_URL, "longer than"),
        ("http://example.test/" + "ü" * (LONGEST_URL - 100), "longer than"),
        ("http://example.test/\ud800", "not an address"),
    ],
)
def test_what_is_no_web_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(text)


@given(st.text(max_size=40), st.sampled_from(["", "http://", "https://a.test/", "http://a.test?"]))
def test_whatever_is_read_reads_the_same_again(text: str, front: str) -> None:
    try:
        address = read(front + text)
    except ValueError:
        return
    assert read(address.url) == address
    assert address.url.isascii()
    assert address.url.isprintable()
    assert " " not in address.url


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("?PHPSESSID=1&a=b", "?a=b"),
        ("?a=b&utm_source=x&utm_medium=y", "?a=b"),
        ("?sid=12", "?sid=12"),
        ("?sid=0123456789abcdef0123456789abcdef", ""),
        ("?b=2&a=1&&", "?b=2&a=1"),
        ("?ASPSESSIONIDQQ=1&fbclid=z", ""),
        (";jsessionid=ABC?x=1", "?x=1"),
        ("?q=a%26b", "?q=a%26b"),
    ],
)
def test_what_names_a_visit_is_no_part_of_a_page(query: str, kept: str) -> None:
    assert read_page(f"http://example.test/a{query}").url == f"http://example.test/a{kept}"


def test_hosts_are_read_with_and_without_a_port() -> None:
    assert read_hosts("Wiki.intern") == {("wiki.intern", 80), ("wiki.intern", 443)}
    assert read_hosts("wiki.intern:8080") == {("wiki.intern", 8080)}
    assert read_hosts("[::1]:80") == {("::1", 80)}
    for wrong in ("wiki/x", "a@b", "", "wiki:99999", "http://wiki"):
        with pytest.raises(ValueError, match="it "):
            read_hosts(wrong)
