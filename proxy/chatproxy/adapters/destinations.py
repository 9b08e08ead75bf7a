"""Where a request may go: a name is resolved once, and every address that it has is judged.

The tables follow IANA's special-purpose address registries and are spelt out here: `ipaddress` has no word on tunnels
that carry an inner IPv4 address, and what it calls global differs between patch releases of Python (CVE-2024-4032).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection, Sequence

from chatproxy.core.knowledge import FetchError
from chatproxy.core.urls import HostPort, WebAddress

Resolver = Callable[[str, int], Sequence[str]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

WEB_PORTS = frozenset((80, 443))
# Of each family: one of the two may lead nowhere from here.
_MOST_ADDRESSES = 2


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# Somebody's own network, or this machine: for hosts that the operator allows by name.
_PRIVATE = _networks("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7")
# Nobody's web server. The first line and the single addresses are where clouds tell a machine its secrets: AWS and most
# others, Azure, Alibaba, Oracle (within 192.0.0.0/24), AWS and Google over IPv6.
_NEVER = _networks(
    *("169.254.0.0/16", "168.63.129.16", "100.100.100.200", "fd00:ec2::/32", "fd20:ce::/32"),
    *("0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    # Protocol assignments with Teredo, documentation, 6to4, documentation.
    *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
)
# The whole of IPv6's public space (RFC 4291, section 2.4): mapped, compatible, link-local and the rest lie outside.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
# RFC 6052: how a machine without IPv4 reaches it. It is as good as the address within.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def system_resolver(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as the operating system gives them. Raises OSError."""
    # As bytes the name is looked up as it stands: Python would read it once more otherwise, as IDNA 2003.
    found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Destinations:
    """Says which addresses a request may be sent to."""

    def __init__(self, *, resolve: Resolver = system_resolver, ports: Collection[int] = WEB_PORTS) -> None:
        """`ports` are open on every host; others only where the operator names them."""
        self._resolve, self._ports = resolve, frozenset(ports)

    def of(self, address: WebAddress, allowed: Collection[HostPort] = ()) -> Sequence[str]:
        """IP addresses that `address` may be read from, in order. Raises FetchError: fetch_refused, fetch_failed.

        One that is not allowed spoils all: a name with a public and a private address is not told apart from an
        attempt. `allowed` are hosts and ports that the operator allows by name (core.boundary.Boundary.allowed_for).
        """
        by_name = (address.host, address.port) in allowed
        if not by_name and address.port not in self._ports:
            raise FetchError("fetch_refused", f"port {address.port} is not one of the web's{_if_meant(address)}")
        found = self._addresses(address)
        for each in found:
            verdict = judge(each)
            if verdict == "never" or (verdict == "private" and not by_name):
                hint = _if_meant(address) if verdict == "private" else ""
                raise FetchError("fetch_refused", f"{address.host} is not on the public internet{hint}")
        families = [[each for each in found if (":" in each) is v6] for v6 in (":" in found[0], ":" not in found[0])]
        return [each for family in families for each in family[:_MOST_ADDRESSES]]

    def _addresses(self, address: WebAddress) -> Sequence[str]:
        try:
            return [str(ipaddress.ip_address(address.host))]
        except ValueError:
            pass
        try:
            found = self._resolve(address.host, address.port)
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise FetchError("fetch_failed", f"the name {address.host} does not resolve")
        return found


def _if_meant(address: WebAddress) -> str:
    return f"; where it is your own, ALLOW_PRIVATE={address.authority} lets it be read"


def judge(text: str) -> str:
    """public, private (somebody's own network) or never, for an IP address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "never"
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            return "never"
        if address in _NAT64:
            # To a private address it is nobody's: a gateway of one's own would have a prefix of its own.
            return "public" if judge(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))) == "public" else "never"
    if _within(address, _NEVER):
        return "never"
    if _within(address, _PRIVATE):
        return "private"
    return "public" if address.version == 4 or address in _PUBLIC_V6 else "never"


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
