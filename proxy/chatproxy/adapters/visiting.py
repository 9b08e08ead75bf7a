"""What one address of a crawl gives: a page, that it is unchanged, or why there is nothing; and where it leads."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field

from chatproxy.adapters.fetching import Fetched
from chatproxy.adapters.page_links import HTML, PageLinks, read_links
from chatproxy.adapters.polite import PoliteFetcher
from chatproxy.core.boundary import Boundary, same_page_key
from chatproxy.core.crawling import Crawled, Page, Scope, SkipCode, Skipped, Unchanged, Validators
from chatproxy.core.frontier import CrawlState
from chatproxy.core.knowledge import FetchError
from chatproxy.core.urls import WebAddress, read_page

# What nobody reads. The media type decides, not the name: a wiki's File:picture.png is a page.
_UNREAD = ("image/", "video/", "audio/", "font/", "text/css", "text/javascript", "application/javascript")
_UNREAD_FILES = frozenset(
    f"application/{kind}"
    for kind in (
        *("zip", "gzip", "x-gzip", "x-tar", "x-bzip2", "x-xz", "zstd", "x-7z-compressed", "x-rar-compressed"),
        *("vnd.rar", "java-archive", "wasm", "x-javascript", "x-msdownload", "x-debian-package", "x-iso9660-image"),
        *("vnd.android.package-archive", "x-apple-diskimage", "vnd.ms-fontobject", "font-woff", "x-shockwave-flash"),
    )
)
_UNNAMED = frozenset(("", "application/octet-stream", "binary/octet-stream", "application/force-download"))
_LONGEST_VALIDATOR = 500


@dataclass(slots=True)
class Visit:
    """What became of one address: results in order, and addresses found on it with their depths."""

    results: list[Crawled] = field(default_factory=list)
    found: list[tuple[WebAddress, int]] = field(default_factory=list)
    # Behind a redirect: read without having waited.
    reached: WebAddress | None = None
    # Given up for what its canonical link names.
    replaced: WebAddress | None = None
    # The site's fault, not the address's.
    failed: bool = False


class _Elsewhere(Exception):
    """A redirect that is not followed."""

    def __init__(self, code: SkipCode, reason: str) -> None:
        super().__init__(reason)
        self.code: SkipCode = code
        self.reason = reason


class Visitor:
    """Reads addresses for one crawl; changes nothing of its state."""

    def __init__(
        self,
        scope: Scope,
        boundary: Boundary,
        polite: PoliteFetcher,
        known: Mapping[str, Validators],
        state: CrawlState,
    ) -> None:
        self._scope, self._boundary, self._polite, self._known, self._state = scope, boundary, polite, known, state

    def visit(self, url: str, depth: int) -> Visit:
        """Read one address that waited. Raises Cancelled."""
        asked, visit = read_page(url), Visit()
        try:
            self._keep_to_rules(asked)
            fetched = self._polite.get(
                asked,
                validators=self._known.get(url),
                on_redirect=lambda target, permanently: self._redirected(asked, target, permanently),
                wanted=lambda address, media_type: bool(_readable(media_type, address.path)),
            )
        except FetchError as error:
            visit.results.append(Skipped(url, error.code, error.public))
            visit.failed = error.code == "fetch_failed"
            return visit
        except _Elsewhere as error:
            visit.results.append(Skipped(url, error.code, error.reason))
            visit.failed = error.code == "fetch_failed"
            return visit
        address = read_page(fetched.address.url)
        if address != asked:
            visit.reached = address
            code: SkipCode = "moved" if fetched.permanently else "moved_for_now"
            visit.results.append(Skipped(url, code, f"it leads to {address.url}{_for_now(fetched.permanently)}"))
        self._judge(fetched, address, depth, visit)
        return visit

    def _keep_to_rules(self, address: WebAddress) -> None:
        if refusal := self._polite.rules(address).refusal(address, self._polite.agent):
            raise _Elsewhere(*refusal)

    def _redirected(self, asked: WebAddress, target: WebAddress, permanently: bool) -> None:
        """Follow a redirect only to what could have been asked for itself."""
        page = read_page(target.url)
        if page == asked:
            return  # a session id came or went
        leads = f"it leads to {page.url}{_for_now(permanently)}"
        if refusal := self._boundary.refusal(page):
            raise _Elsewhere("out_of_scope" if permanently else "moved_for_now", f"{leads}: {refusal}")
        if self._state.has_seen(same_page_key(page)):
            raise _Elsewhere("moved" if permanently else "moved_for_now", f"{leads}, which counts for itself")
        if refused := self._polite.rules(page).refusal(page, self._polite.agent):
            code, reason = refused
            forbidden_for_now = code == "fetch_robots" and not permanently
            raise _Elsewhere("moved_for_now" if forbidden_for_now else code, f"{leads}: {reason}")

    def _judge(self, fetched: Fetched, address: WebAddress, depth: int, visit: Visit) -> None:
        def skip(code: SkipCode, reason: str) -> None:
            visit.results.append(Skipped(address.url, code, reason))

        status = fetched.status
        if status == 304 and address.url in self._known:
            visit.results.append(Unchanged(address.url))
            return
        if status in (404, 410):
            skip("vanished", f"HTTP {status}")
            return
        if not 200 <= status < 300:
            visit.failed = status >= 500 or status == 429
            skip("fetch_status", f"HTTP {status}")
            return
        media_type = _readable(fetched.media_type, address.path)
        if not media_type:
            skip("media_type", f"{fetched.media_type or 'a file of unknown kind'} is not read")
            return
        links = self._links(fetched, media_type)
        self._follow(links, depth, visit)
        canonical = _resolved(links.canonical, links.base) if links.canonical else None
        if links.noindex:
            skip("noindex", "the page asks not to be found")
        elif not self._boundary.included(address):
            skip("out_of_scope", "no pattern includes it: it was read for its links alone")
        elif canonical and self._stands_for(canonical, address):
            visit.replaced = address
            visit.found.append((canonical, depth))
            skip("duplicate", f"its canonical link names {canonical.url}")
        else:
            shown = canonical.url if canonical else address.url
            visit.results.append(_page(fetched, address, shown, media_type, links.found, depth))

    def _links(self, fetched: Fetched, media_type: str) -> PageLinks:
        header = fetched.headers.get("x-robots-tag", "")
        body = fetched.body if media_type in HTML else b""
        return read_links(body, fetched.address.url, fetched.charset, header, self._polite.agent)

    def _follow(self, links: PageLinks, depth: int, visit: Visit) -> None:
        if self._scope.follow == "sitemap" or links.nofollow:
            return
        for link in dict.fromkeys(links.followed):
            if address := _resolved(link, links.base):
                visit.found.append((address, depth + 1))

    def _stands_for(self, canonical: WebAddress, address: WebAddress) -> bool:
        """Whether a page is to be read at its canonical address instead.

        Not where that is outside the crawl; nor where it is the home page, a mistake that many templates make; nor
        where that page named this one before: each would be given up for the other.
        """
        return (
            same_page_key(canonical) != same_page_key(address)
            and canonical.target != "/"
            and not self._boundary.refusal(canonical)
            and not self._state.was_replaced(same_page_key(canonical))
            and not self._polite.rules(canonical).refusal(canonical, self._polite.agent)
        )


def _for_now(permanently: bool) -> str:
    return "" if permanently else " for now"


def _readable(media_type: str, path: str) -> str:
    """The media type under which a body is read; "" where there is nothing to read in it."""
    if media_type in _UNNAMED:
        # Where a server says nothing at all, what looks like no file is a page.
        media_type = mimetypes.guess_type(path)[0] or ("" if media_type or "." in path else "text/html")
    return "" if media_type.startswith(_UNREAD) or media_type in _UNREAD_FILES | _UNNAMED else media_type


def _page(fetched: Fetched, address: WebAddress, canonical: str, media_type: str, links: int, depth: int) -> Page:
    etag, modified = (fetched.headers.get(name, "")[:_LONGEST_VALIDATOR] for name in ("etag", "last-modified"))
    validators = Validators(etag, modified, depth)
    return Page(address.url, canonical, media_type, fetched.charset, fetched.body, validators, links, depth)


def _resolved(link: str, base: str) -> WebAddress | None:
    try:
        return read_page(link, base)
    except ValueError:
        return None
