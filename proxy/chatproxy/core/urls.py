"""One reading of a web address: the browsers' own.

Addresses are read by Ada, the parser of Node.js, to the letter of the WHATWG URL Standard: `127.1`, `0x7f000001` and
full-width digits become 127.0.0.1, a backslash is a slash, tabs and newlines vanish, names become their IDNA form. What
is read here once is what is checked, connected to and sent: nothing behind this module reads an address again, so no
second parser can see another host in it (open-webui CVE-2026-45400 came from just that).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from ada_url import URL

HostPort = tuple[str, int]

# Browsers and servers agree on about this much; longer ones come from traps.
LONGEST_URL = 2000
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
# RFC 3986, section 2.3: these mean the same escaped or not.
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PATH_SESSION = re.compile(r";(?:jsessionid|phpsessid)=[^/?;]*", re.IGNORECASE)
# Query parameters that name a visit or an advertisement, never a page.
_VISITS = frozenset(
    (
        *("phpsessid", "jsessionid", "asp.net_sessionid", "sessionid", "session_id", "cfid", "cftoken", "zenid"),
        *("oscsid", "fbclid", "gclid", "dclid", "gbraid", "wbraid", "msclkid", "yclid", "twclid", "igshid"),
        *("mc_cid", "mc_eid", "_ga", "_gl", "_hsenc", "_hsmi"),
    )
)
# Shorter ones name a visit only where they look like it.
_MAYBE_VISITS = frozenset(("sid", "s", "session"))
_TOKEN = re.compile(r"[0-9a-fA-F]{16,}|[0-9a-zA-Z]{24,}")


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An http or https address, normalised, without fragment and user names."""

    scheme: str
    host: str  # a name in lower-case ASCII without a dot at its end, or an IP address (IPv6 without brackets)
    port: int
    target: str  # path and query, as the request line has them

    @property
    def authority(self) -> str:
        """Host and port, as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


def read(text: str, base: str = "") -> WebAddress:
    """The address that `text` is, or as a link on the page `base` names. Raises ValueError with the reason."""
    if len(text) > LONGEST_URL:
        raise ValueError(f"it is longer than {LONGEST_URL} characters")
    try:
        parsed = URL(text, base) if base else URL(text)
    except (ValueError, UnicodeEncodeError):
        raise ValueError("it is not an address") from None
    scheme = parsed.protocol.removesuffix(":")
    if scheme not in _DEFAULT_PORTS:
        raise ValueError(f"it begins with {scheme[:20]}:, not with http: or https:")
    if parsed.username or parsed.password:
        raise ValueError("it holds a user name or password")
    port = int(parsed.port) if parsed.port else _DEFAULT_PORTS[scheme]
    address = WebAddress(scheme, _host(parsed.hostname), port, _same_escapes(parsed.pathname + parsed.search))
    if len(address.url) > LONGEST_URL:
        raise ValueError(f"it is longer than {LONGEST_URL} characters")
    return address


def read_page(text: str, base: str = "") -> WebAddress:
    """Like `read`, without the session ids and advertisement marks that make one page look like many."""
    address = read(text, base)
    path, _, query = address.target.partition("?")
    kept = [pair for pair in query.split("&") if pair and not _names_visit(pair)]
    target = _PATH_SESSION.sub("", path) + (f"?{'&'.join(kept)}" if kept else "")
    return replace(address, target=target)


def _host(hostname: str) -> str:
    if hostname.startswith("["):
        return str(ipaddress.IPv6Address(hostname.strip("[]")))
    name = hostname.removesuffix(".")
    if not _NAME.fullmatch(name):
        raise ValueError("its host name is none")
    return name


def _same_escapes(target: str) -> str:
    """Escapes in upper case, none where none is needed (RFC 3986, section 6.2.2)."""

    def same(match: re.Match[str]) -> str:
        code = int(match[0][1:], 16)
        return chr(code) if code in _UNRESERVED else match[0].upper()

    return _ESCAPE.sub(same, target)


def _names_visit(pair: str) -> bool:
    name, _, value = pair.partition("=")
    plain = unquote_to_bytes(name).decode("latin-1").lower()
    if plain in _MAYBE_VISITS:
        return _TOKEN.fullmatch(value) is not None
    return plain in _VISITS or plain.startswith(("utm_", "aspsessionid"))


def read_hosts(text: str) -> frozenset[HostPort]:
    """What `host` or `host:port` stands for; without a port for 80 and 443. Raises ValueError with the reason."""
    addresses = [read(f"{scheme}://{text}/") for scheme in _DEFAULT_PORTS]
    if any(address.target != "/" for address in addresses):
        raise ValueError("it is not a host")
    return frozenset((address.host, address.port) for address in addresses)
