"""Sitemaps and indexes of them: XML, plain text, either of them gzipped (sitemaps.org, protocol 0.9)."""

from __future__ import annotations

import codecs
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree.ElementTree import Element, ParseError  # nosec B405 - names alone; defusedxml parses

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

# The protocol's own bounds.
MOST_BYTES = 50 << 20
MOST_ENTRIES = 50_000
_GZIP = b"\x1f\x8b"


class SitemapError(Exception):
    """It cannot be read, or not to its end; the text says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An address that a sitemap lists, or in an index that of another sitemap."""

    kind: Literal["page", "sitemap"]
    url: str


def read_sitemap(body: bytes) -> Iterator[Entry]:
    """Its entries in order. Raises SitemapError, in the middle too: what came before it is good."""
    plain = _gunzipped(body) if body.startswith(_GZIP) else body
    entries = _xml(plain) if plain.lstrip(codecs.BOM_UTF8 + b" \t\r\n").startswith(b"<") else _text(plain)
    for number, entry in enumerate(entries):
        if number == MOST_ENTRIES:
            raise SitemapError(f"it lists more than {MOST_ENTRIES} addresses")
        yield entry


def _gunzipped(body: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unpacking.decompress(body, MOST_BYTES)
    except zlib.error:
        raise SitemapError("its compression is broken") from None
    if not unpacking.eof:
        raise SitemapError(f"unpacked it is larger than {MOST_BYTES >> 20} MB, or it is incomplete")
    return plain


def _xml(body: bytes) -> Iterator[Entry]:
    """The `loc` of each `url` and `sitemap`; no element is kept. A DTD is no part of a sitemap."""
    root: Element | None = None
    url = ""
    try:
        # "start" gives the root, from which each finished entry is taken away again.
        for event, element in ElementTree.iterparse(io.BytesIO(body), events=("start", "end"), forbid_dtd=True):
            root = element if root is None else root
            name = element.tag.rpartition("}")[2]
            if event == "start":
                continue
            # image:loc and the like have a namespace of their own.
            if name == "loc" and _namespace(element) == _namespace(root):
                url = (element.text or "").strip()
            elif name in ("url", "sitemap"):
                if url:
                    yield Entry("page" if name == "url" else "sitemap", url)
                url = ""
                root.clear()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise SitemapError(f"its XML cannot be read ({type(error).__name__})") from None


def _text(body: bytes) -> Iterator[Entry]:
    for line in io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig", errors="replace"):
        url = line.strip()
        if url.startswith(("http://", "https://")):
            yield Entry("page", url)
        elif url:
            raise SitemapError("it is neither XML nor a list of addresses")


def _namespace(element: Element) -> str:
    return element.tag.rpartition("}")[0]
