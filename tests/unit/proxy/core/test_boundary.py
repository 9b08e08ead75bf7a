"""What belongs to a crawl: hosts, folders, patterns, and the signs of a trap."""

from __future__ import annotations

import pytest

from chatproxy.core.boundary import Boundary, is_endless, same_page_key, variant_of
from chatproxy.core.crawling import Scope
from chatproxy.core.urls import read_page
from chatproxy.errors import InvalidRequest

SITE = "https://example.test"


def belongs(url: str, **scope: object) -> bool:
    given = Scope(**{"start": (f"{SITE}/",), **scope})  # type: ignore[arg-type]
    return not Boundary(given).refusal(read_page(url))


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        (f"{SITE}/a/b", True),
        ("http://example.test/a", True),
        ("https://www.example.test/a", True),
        ("https://sub.example.test/a", False),
        ("https://example.test.evil.test/", False),
        ("https://evilexample.test/", False),
        ("https://example.test:8443/", False),
    ],
)
def test_a_start_means_its_host(url: str, inside: bool) -> None:
    assert belongs(url) is inside


@pytest.mark.parametrize("start", ["/docs", "/docs/", "/docs/index.html"])
@pytest.mark.parametrize(
    ("path", "inside"), [("/docs", True), ("/docs/", True), ("/docs/a/b", True), ("/docsearch", False), ("/", False)]
)
def test_a_start_in_a_folder_means_that_folder(start: str, path: str, inside: bool) -> None:
    assert belongs(SITE + path, start=(SITE + start,)) is inside
    assert belongs(SITE + path, start=(SITE + start,), within="host")


@pytest.mark.parametrize(
    ("patterns", "path", "inside"),
    [
        ({"include": ("/docs/*",)}, "/docs/a/b", True),
        ({"include": ("/docs/*",)}, "/blog/a", False),
        ({"include": ("/docs/*",)}, "/", True),  # a start
        ({"exclude": ("*.pdf",)}, "/a/b.pdf", False),
        ({"exclude": ("*.pdf",)}, "/a/b.pdf?v=1", True),
        ({"exclude": ("*?print=*",)}, "/a?print=1", False),
        ({"exclude": ("/a+b/*",)}, "/a+b/c", False),
        ({"exclude": ("/a+b/*",)}, "/aab/c", True),
        ({"include": ("/docs/*",), "exclude": ("/docs/old/*",)}, "/docs/old/a", False),
        ({"include": ("https://example.test/x*",)}, "/xy", True),
        ({"include": ("re:/v[0-9]+/",)}, "/a/v12/b", True),
        ({"include": ("re:/v[0-9]+/",)}, "/a/vx/b", False),
    ],
)
def test_patterns_choose(patterns: dict[str, tuple[str, ...]], path: str, inside: bool) -> None:
    assert belongs(SITE + path, **patterns) is inside


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        ({"start": ()}, "start"),
        ({"start": ("example.test",)}, "start"),
        ({"start": ("ftp://example.test/",)}, "start"),
        ({"sitemaps": ("/sitemap.xml",)}, "sitemaps"),
        ({"include": ("docs/*",)}, "include"),
        ({"exclude": ("re:(",)}, "exclude"),
        ({"include": ("re:a{99999999999999999999}",)}, "include"),
        ({"include": ("re:(?a)(?u)x",)}, "include"),
        ({"exclude": (f"re:{'(' * 3000}{')' * 3000}",)}, "exclude"),
        ({"depth": -1}, "depth"),
        ({"most_pages": 0}, "most_pages"),
        ({"most_variants": 0}, "most_variants"),
        ({"rate": -0.1}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"allowed_private": ("wiki/x",)}, "allowed_private"),
    ],
)
def test_a_scope_that_cannot_be_names_the_field(scope: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: "):
        Boundary(Scope(**{"start": (f"{SITE}/",), **scope}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "endless"),
    [
        ("/a/b/c/d/e", False),
        ("/en/docs/en/docs", False),
        ("/a/b/a/b/a/b/a/b", True),
        ("/x" * 5, True),
        ("/" + "/".join(map(str, range(21))), True),
    ],
)
def test_paths_that_grow_are_noticed(path: str, endless: bool) -> None:
    assert is_endless(read_page(SITE + path)) is endless


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/list?page=1", "/list?page=2&sort=up"),
        ("/calendar/2026/11", "/calendar/2031/1"),
        ("/calendar/2026-11-21", "/calendar/2026-12-01"),
        ("/events/11-2026/", "/events/12-2026/"),
        ("/day/20261121", "/day/20271121"),
        ("/calendar/2026/11?view=day", "/calendar/2027/11?view=week"),
    ],
)
def test_variants_of_one_address_are_noticed(one: str, other: str) -> None:
    assert variant_of(read_page(SITE + one)) == variant_of(read_page(SITE + other)) != ""


@pytest.mark.parametrize("path", ["/article/12345", "/v1.2.3/api", "/a/b.html", "/2026"])
def test_what_is_no_variant_is_not_counted(path: str) -> None:
    assert variant_of(read_page(SITE + path)) == ""


def test_dated_articles_are_not_variants_of_each_other() -> None:
    one, other = (read_page(f"{SITE}/2026/11/{name}") for name in ("summer", "winter"))
    assert variant_of(one) != variant_of(other)


def test_the_order_of_parameters_makes_no_other_page() -> None:
    assert same_page_key(read_page(f"{SITE}/a?x=1&y=2")) == same_page_key(read_page(f"{SITE}/a?y=2&x=1"))
    assert same_page_key(read_page(f"{SITE}/a?x=1")) != same_page_key(read_page(f"{SITE}/a?x=2"))
