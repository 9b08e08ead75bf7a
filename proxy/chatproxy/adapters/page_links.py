"""What an HTML page says to a crawler: its links, its canonical address, and whether it wants to be found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin

from lxml import etree

HTML = frozenset(("text/html", "application/xhtml+xml"))
_LINKS = {"a": "href", "area": "href", "iframe": "src", "frame": "src"}
# More on one page are a trap's, or a dump's.
_MOST_LINKS = 20_000


@dataclass(slots=True)
class PageLinks:
    """Links as they stand there, without fragments, for `base`; `followed` holds none with rel=nofollow."""

    base: str
    followed: list[str] = field(default_factory=list)
    found: int = 0
    canonical: str = ""
    noindex: bool = False
    nofollow: bool = False


def read_links(body: bytes, url: str, charset: str, robots_header: str, agent: str) -> PageLinks:
    """Read a page. Broken HTML is read as far as it goes, by libxml2, without building a tree.

    `robots_header` is X-Robots-Tag's value; `agent` is the name under which robots.txt and pages may speak to us.
    """
    page = PageLinks(url)
    _obey(page, _directives(robots_header, agent))
    if body.strip():
        parser = etree.HTMLParser(target=_Reader(page, agent), encoding=_encoding(body, charset), no_network=True)
        try:
            parser.feed(body)
            parser.close()
        except etree.LxmlError:
            pass  # what came before the fault has been read
    return page


class _Reader:
    """Takes a page's tags as they come."""

    def __init__(self, page: PageLinks, agent: str) -> None:
        self._page, self._agent = page, agent
        self._has_base = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in _LINKS:
            self._link(attributes.get(_LINKS[tag], "").strip(), attributes.get("rel", ""))
        elif tag == "base" and not self._has_base and attributes.get("href"):
            self._has_base = True
            self._page.base = _joined(self._page.base, attributes["href"])
        elif tag == "link" and "canonical" in attributes.get("rel", "").lower().split():
            self._page.canonical = self._page.canonical or attributes.get("href", "").strip()
        elif tag == "meta":
            self._meta(attributes)

    def close(self) -> None:
        pass

    def _link(self, target: str, relation: str) -> None:
        target = target.partition("#")[0]
        if not target:
            return
        self._page.found += 1
        if "nofollow" not in relation.lower().split() and len(self._page.followed) < _MOST_LINKS:
            self._page.followed.append(target)

    def _meta(self, attributes: Mapping[str, str]) -> None:
        content = attributes.get("content", "")
        if attributes.get("name", "").lower() in ("robots", self._agent.lower()):
            _obey(self._page, _words(content))
        elif attributes.get("http-equiv", "").lower() == "refresh":
            _, _, target = content.partition("=")
            self._link(target.strip().strip("'\""), "")


def _obey(page: PageLinks, directives: Iterable[str]) -> None:
    words = set(directives)
    page.noindex = page.noindex or bool(words & {"noindex", "none"})
    page.nofollow = page.nofollow or bool(words & {"nofollow", "none"})


def _directives(header: str, agent: str) -> Iterable[str]:
    """Those of X-Robots-Tag for everybody and for us: `noindex, othersbot: nofollow` says noindex."""
    ours = True
    for part in header.split(","):
        name, colon, rest = part.partition(":")
        # These two have values behind a colon, and no agent in front.
        if colon and name.strip().lower() not in ("unavailable_after", "max-snippet", "max-image-preview"):
            ours = name.strip().lower() == agent.lower()
            part = rest
        if ours:
            yield from _words(part)


def _words(text: str) -> list[str]:
    return text.lower().replace(",", " ").split()


def _joined(base: str, href: str) -> str:
    try:
        return urljoin(base, href.strip())
    except ValueError:
        return base


def _encoding(body: bytes, charset: str) -> str | None:
    """The header's word, else UTF-8 where the page is UTF-8, else None: what the page says of itself."""
    if charset:
        try:
            "".encode(charset)
        except LookupError:
            pass
        else:
            return charset
    try:
        body.decode()
    except UnicodeDecodeError:
        return None
    return "utf-8"
