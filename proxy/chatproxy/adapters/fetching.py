"""Reads one address of the web, and nothing that is not the web's.

An address is read once (core/urls.py), its name resolved once (adapters/destinations.py), and the connection made to
the IP address that was checked (adapters/connecting.py). urllib3 is never given a URL, so there is nothing left that
could lead elsewhere; each redirect goes the same way from the beginning. No cookies, no credentials, no proxies from
the environment, one connection per request.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from email.message import Message

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, IncompleteRead
from urllib3.exceptions import SSLError as TlsError

from chatproxy.adapters.connecting import TIMEOUTS, Deadline, Timeouts, connected
from chatproxy.adapters.destinations import Destinations
from chatproxy.core.crawling import Validators
from chatproxy.core.knowledge import FetchError
from chatproxy.core.urls import HostPort, WebAddress, read
from chatproxy.errors import ConfigurationError

MOST_BYTES = 20 << 20
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PERMANENT = frozenset((301, 308))
_PIECE = 65536
_ACCEPT = "text/html,application/xhtml+xml,application/pdf;q=0.9,*/*;q=0.8"

# Told of each redirect before it is followed, and whether it and all before it are permanent (RFC 9110, section 15.4);
# what it raises ends the fetch.
OnRedirect = Callable[[WebAddress, bool], None]
# Whether the body of an address with this media type is wanted; otherwise it is not read.
Wanted = Callable[[WebAddress, str], bool]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. The body is empty where its media type was not wanted, and for a status that is none of success."""

    address: WebAddress  # behind any redirects
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    # Whether all redirects that led there are permanent.
    permanently: bool = True

    @property
    def media_type(self) -> str:
        """As the header says, in lower case and without parameters; "" where it says nothing."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """As the header says, "" where it says nothing."""
        head = Message()
        head["Content-Type"] = self.headers.get("content-type", "")
        return head.get_content_charset("")


def user_agent(contact: str) -> str:
    """The crawler's name with whom its requests are to be discussed: a URL or e-mail address, the operator's.

    Sites speak to it in robots.txt as ChatproxyCrawler. Raises ConfigurationError for what no header can hold.
    """
    if not (contact.isascii() and contact.isprintable()) or set(contact) & set("()"):
        raise ConfigurationError(f"the crawler's contact {contact!r} holds characters that cannot be sent")
    return f"ChatproxyCrawler/1.0 (+{contact})" if contact else "ChatproxyCrawler/1.0"


class Fetcher:
    """GET requests to public addresses, and to those that the operator allows. Thread-safe."""

    def __init__(
        self,
        user_agent: str,
        *,
        destinations: Destinations | None = None,
        timeouts: Timeouts = TIMEOUTS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """`user_agent` names us and whom to turn to, as the function of that name does.

        `most_bytes` is the largest body, decompressed.
        """
        self.user_agent = user_agent
        self._destinations = destinations or Destinations()
        self._timeouts, self._most_bytes = timeouts, most_bytes
        self._tls = ssl.create_default_context()

    def fetch(
        self,
        url: str,
        *,
        allowed: Collection[HostPort] = (),
        validators: Validators | None = None,
        on_redirect: OnRedirect | None = None,
        wanted: Wanted | None = None,
        most_bytes: int | None = None,
    ) -> Fetched:
        """GET `url`, following up to five redirects. Raises FetchError: fetch_refused, fetch_failed, fetch_too_large.

        `validators` make the request conditional, unless it is redirected: they are those of this very address.
        """
        address = _read(url)
        headers, permanently = _conditions(validators), True
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._get(address, allowed, headers, wanted, most_bytes or self._most_bytes)
            location = answer.headers.get("location", "")
            if answer.status not in _REDIRECTS or not location:
                return replace(answer, permanently=permanently)
            target = _read(location, address.url)
            if address.scheme == "https" and target.scheme == "http" and target.host != address.host:
                raise FetchError("fetch_refused", f"it leads from https to unencrypted http on {target.host}")
            permanently = permanently and answer.status in _PERMANENT
            if on_redirect:
                on_redirect(target, permanently)
            address, headers = target, {}
        raise FetchError("fetch_failed", f"more than {_MOST_REDIRECTS} redirects")

    def _get(
        self,
        address: WebAddress,
        allowed: Collection[HostPort],
        headers: Mapping[str, str],
        wanted: Wanted | None,
        most_bytes: int,
    ) -> Fetched:
        ips = self._destinations.of(address, allowed)
        deadline = Deadline(self._timeouts.total_s)
        try:
            with connected(address, ips, self._tls, self._timeouts, deadline) as connection:
                connection.request(
                    "GET", address.target, headers={**self._headers(address), **headers}, preload_content=False
                )
                answer = connection.getresponse()
                fetched = Fetched(address, answer.status, _flat(answer), b"")
                if not 200 <= answer.status < 300 or (wanted and not wanted(address, fetched.media_type)):
                    return fetched
                body = _body(answer, most_bytes)
        except (OSError, HTTPError, http.client.HTTPException, ValueError) as error:
            deadline.check()
            raise FetchError("fetch_failed", _reason(error)) from error
        deadline.check()  # a connection that ended because of it may look like the end of the body
        return Fetched(address, answer.status, fetched.headers, body)

    def _headers(self, address: WebAddress) -> dict[str, str]:
        return {
            "Host": address.authority,
            "User-Agent": self.user_agent,
            "Accept": _ACCEPT,
            "Accept-Encoding": "gzip, deflate",
            "Connection": "close",
        }


def _read(text: str, base: str = "") -> WebAddress:
    try:
        return read(text, base)
    except ValueError as error:
        what = "a redirect" if base else "the address"
        raise FetchError("fetch_refused", f"{what} cannot be used: {error}") from None


def _conditions(validators: Validators | None) -> dict[str, str]:
    if validators is None:
        return {}
    given = {"If-None-Match": validators.etag, "If-Modified-Since": validators.last_modified}
    return {name: value for name, value in given.items() if value and value.isascii() and value.isprintable()}


def _flat(answer: BaseHTTPResponse) -> dict[str, str]:
    """Headers by name; http.client reads them as Latin-1, most servers mean UTF-8."""
    flat = {}
    for name, value in answer.headers.items():
        try:
            flat[name.lower()] = value.encode("latin-1").decode()
        except UnicodeError:
            flat[name.lower()] = value
    return flat


def _body(answer: BaseHTTPResponse, most_bytes: int) -> bytes:
    """The body, decompressed piece by piece, so that it never grows beyond what is allowed."""
    too_large = FetchError("fetch_too_large", f"it is larger than {most_bytes >> 20 or 1} MB")
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise too_large
    body = bytearray()
    for piece in answer.stream(_PIECE, decode_content=True):
        body += piece
        if len(body) > most_bytes:
            raise too_large
    return bytes(body)


def _reason(error: BaseException) -> str:
    """Why there is no answer, in words for the operator; no addresses of the network within."""
    text = str(error).lower()
    if isinstance(error, ssl.SSLError | TlsError) or "certificate" in text:
        return "its certificate or TLS cannot be relied on"
    if "timed out" in text:
        return "no answer in time"
    if "refused" in text:
        return "connection refused"
    if "unreachable" in text or "no route" in text:
        return "its network cannot be reached"
    if isinstance(error, IncompleteRead) or "incomplete" in text or "closed connection" in text or "reset" in text:
        return "the connection ended before the answer was complete"
    if "decod" in text or "decompress" in text:
        return "its compression is broken"
    return "it does not speak HTTP as it should"
