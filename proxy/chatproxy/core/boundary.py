"""Which addresses belong to a crawl, and which of them are a trap's."""

from __future__ import annotations

import re

from chatproxy.core.crawling import Scope, matcher
from chatproxy.core.urls import HostPort, WebAddress, read_hosts, read_page
from chatproxy.errors import InvalidRequest

# Beyond this an address grew by following itself: relative links that never end, folders within themselves.
_MOST_SEGMENTS = 20
_MOST_REPEATS = 3
# 2026/11, 2026-11-21, 20261121, 11/2026: what a calendar's addresses differ in.
_DATE = re.compile(r"(?<!\d)(?:(?:19|20|21)\d\d[-/_.]?\d{1,2}(?:[-/_.]?\d{1,2})?|\d{1,2}[-/_.](?:19|20|21)\d\d)(?!\d)")


class Boundary:
    """The limits of a scope, ready to be asked. Raises InvalidRequest for a start that is no web address."""

    def __init__(self, scope: Scope) -> None:
        self.starts = tuple(_read("start", each) for each in scope.start)
        self.sitemaps = tuple(_read("sitemaps", each) for each in scope.sitemaps)
        by_name = frozenset(pair for each in scope.allowed_private for pair in _hosts(each))
        sites = {_site(each.host, each.port) for each in self.starts}
        self._allowed = frozenset(pair for pair in by_name if _site(*pair) in sites)
        self._allowed_sitemaps = {each.url: by_name & {(each.host, each.port)} for each in self.sitemaps}
        self._start_urls = frozenset(each.url for each in self.starts)
        self._roots = frozenset(
            (_site(each.host, each.port), _folder(each.path) if scope.within == "path" else "/") for each in self.starts
        )
        self._include = tuple(map(matcher, scope.include))
        self._exclude = tuple(map(matcher, scope.exclude))

    def refusal(self, address: WebAddress) -> str:
        """Why an address is not asked for; "" where it is."""
        site, path = _site(address.host, address.port), f"{address.path}/"
        if not any(site == root_site and path.startswith(root) for root_site, root in self._roots):
            return "it lies outside the source's hosts and folders"
        if any(matches(address.target, address.url) for matches in self._exclude):
            return "a pattern excludes it"
        if address.url not in self._start_urls and not self.included(address):
            return "no pattern includes it"
        return ""

    def allowed_for(self, address: WebAddress) -> frozenset[HostPort]:
        """Hosts allowed by name that a request for `address` may reach, behind redirects too.

        Those on which a start lies; for a sitemap of the scope's its own as well. To the others nothing leads that a
        website says: a robots.txt could name any address of the operator's network as its sitemap.
        """
        return self._allowed | self._allowed_sitemaps.get(address.url, frozenset())

    def included(self, address: WebAddress) -> bool:
        """Whether a page is one of the source's: a start that no pattern includes is read for its links alone."""
        return not self._include or any(matches(address.target, address.url) for matches in self._include)


def is_endless(address: WebAddress) -> bool:
    """Whether the path looks like one that grows with every link."""
    segments = [segment for segment in address.path.split("/") if segment]
    if len(segments) > _MOST_SEGMENTS:
        return True
    return any(segments.count(segment) > _MOST_REPEATS for segment in set(segments))


def variant_of(address: WebAddress) -> str:
    """What addresses have in common that differ in their query, or in a date, alone; "" for any other."""
    if address.query:
        return f"{address.scheme}://{address.authority}{_DATE.sub('0', address.path)}?"
    shape = _DATE.sub("0", address.path)
    return f"{address.scheme}://{address.authority}{shape}" if shape != address.path else ""


def same_page_key(address: WebAddress) -> str:
    """Equal for addresses that surely name one page: in whatever order their parameters stand."""
    query = "&".join(sorted(address.query.split("&")))
    return f"{address.scheme}://{address.authority}{address.path}?{query}"


def _read(field: str, text: str) -> WebAddress:
    try:
        return read_page(text)
    except ValueError as error:
        raise InvalidRequest(f"{field}: {text[:200]!r} cannot be used: {error}.") from None


def _hosts(text: str) -> frozenset[HostPort]:
    try:
        return read_hosts(text)
    except ValueError as error:
        raise InvalidRequest(f"allowed_private: {text[:200]!r} cannot be used: {error}.") from None


def _site(host: str, port: int) -> tuple[str, int]:
    """The same with and without www., over http and https."""
    return host.removeprefix("www."), 80 if port == 443 else port


def _folder(path: str) -> str:
    """/docs/ for /docs, /docs/ and /docs/index.html."""
    parent, _, last = path.rpartition("/")
    return f"{parent}/" if not last or "." in last else f"{path}/"
