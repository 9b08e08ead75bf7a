"""What a crawl is asked for and what it gives.

The decisions about single addresses are in core/boundary.py, what is still to do in core/frontier.py; the loop itself,
with the web at its other end, is adapters/crawler.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from chatproxy.errors import InvalidRequest

SkipCode = Literal[
    "fetch_refused",  # its host's address or port is not allowed
    "fetch_failed",  # no connection, no complete answer, or none in time
    "fetch_too_large",
    "fetch_robots",  # robots.txt does not allow it, or cannot be read
    "fetch_status",  # a status other than success, redirect, 404 and 410
    "vanished",  # 404 or 410
    "moved",  # a permanent redirect to an address that counts for itself
    "moved_for_now",  # a temporary redirect to whatever else: maintenance, a login
    "out_of_scope",
    "noindex",  # the page, or its header, asks not to be found
    "duplicate",  # its canonical link names another page of the crawl
    "media_type",  # pictures, programs, archives: nothing to read
    "trap",  # too many addresses of one kind
    "limit",  # most_pages, depth, the most addresses kept in mind, or the longest wait between two pages
    "invalid",  # what stands where an address should is none
    "unreachable",  # the site fails again and again: the crawl ends here
]
# Whatever was known of these addresses holds no longer; after any other skip it may well.
_GONE: frozenset[SkipCode] = frozenset(
    ("vanished", "moved", "out_of_scope", "noindex", "duplicate", "media_type", "fetch_robots")
)
_REGULAR_EXPRESSION = "re:"


@dataclass(frozen=True, slots=True)
class Scope:
    """What of the web belongs to one source. Raises InvalidRequest for what cannot be.

    A pattern is matched against path and query (`/docs/*`), or against the whole address where it begins with http: or
    https:. In it `*` stands for any characters, slashes too, and everything else for itself. After `re:` comes a
    regular expression instead, searched for in the whole address.
    """

    start: tuple[str, ...]
    # None = everything. Start addresses are read for their links in any case.
    include: tuple[str, ...] = ()
    # Wins over `include`.
    exclude: tuple[str, ...] = ()
    # host: the starts' hosts, with and without www., over http and https.
    # path: of these only what lies below the starts' folders; /docs counts as a folder, /docs/a.html lies in /docs.
    within: Literal["host", "path"] = "path"
    # links: follow links. sitemap: read the sites' sitemaps and the starts. both: sitemaps, and links from there on.
    follow: Literal["links", "sitemap", "both"] = "both"
    # Sitemaps in addition to those that robots.txt names, or /sitemap.xml.
    sitemaps: tuple[str, ...] = ()
    # Links between a start and a page; pages of a sitemap count as starts.
    depth: int = 10
    most_pages: int = 1000
    # Addresses with the same path but other queries, or that differ in a date alone: as many are followed.
    most_variants: int = 300
    # Seconds between requests; robots.txt may ask for more.
    rate: float = 1.0
    # Hosts that the operator allows by name, at private addresses too: `host` (ports 80 and 443) or `host:port`.
    allowed_private: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.start:
            raise InvalidRequest("start: at least one address is needed.")
        for name, least, most in (
            ("depth", 0, 100),
            ("most_pages", 1, 50_000),
            ("most_variants", 1, 50_000),
            ("rate", 0, 3600),
        ):
            if not least <= getattr(self, name) <= most:
                raise InvalidRequest(f"{name}: must be between {least} and {most}.")
        for name in ("include", "exclude"):
            for each in getattr(self, name):
                _checked(name, each)


@dataclass(frozen=True, slots=True)
class Validators:
    """What a re-sync gives back of a page that was read before: its headers, and at what depth it was found.

    As an unchanged page is not sent again, its links are not known again either: every known page is asked for.
    """

    etag: str = ""
    last_modified: str = ""
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """A document that was read: HTML, or a file such as a PDF."""

    url: str  # where it was read, behind any redirects
    canonical: str  # what its canonical link names, wherever that is; `url` where there is none
    media_type: str
    charset: str  # as the header says, else ""
    body: bytes
    validators: Validators
    links: int  # links found on it, followed or not
    depth: int


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A page that is as it was when its validators were noted."""

    url: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """An address without a page; `reason` is for the operator."""

    url: str
    code: SkipCode
    reason: str

    @property
    def gone(self) -> bool:
        """Whether what was read there before has to go; otherwise it may have failed this time alone."""
        return self.code in _GONE


Crawled = Page | Unchanged | Skipped


def matcher(pattern: str) -> Callable[[str, str], bool]:
    """Whether (path and query, whole address) match a pattern of Scope. Raises what re.compile does."""
    if pattern.startswith(_REGULAR_EXPRESSION):
        searched = re.compile(pattern.removeprefix(_REGULAR_EXPRESSION))
        return lambda _, url: searched.search(url) is not None
    whole = re.compile(".*".join(re.escape(piece) for piece in re.split(r"\*+", pattern)), re.DOTALL)
    if pattern.startswith(("http:", "https:")):
        return lambda _, url: whole.fullmatch(url) is not None
    return lambda target, _: whole.fullmatch(target) is not None


def _checked(name: str, pattern: str) -> None:
    if not pattern.startswith(("/", "*", "http:", "https:", _REGULAR_EXPRESSION)):
        raise InvalidRequest(f"{name}: {pattern!r} must begin with /, *, http:, https: or re:.")
    try:
        matcher(pattern)
    except (re.error, ValueError, OverflowError, RecursionError) as error:  # the others for flags, numbers and depth
        raise InvalidRequest(f"{name}: {pattern!r} is not a regular expression: {error}.") from None
