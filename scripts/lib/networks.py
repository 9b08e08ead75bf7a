"""What the settings for WireGuard accept: networks for inside the tunnel, and the address that devices call."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Network, IPv6Network

# RFC 1918 and RFC 6598; RFC 4193 for IPv6. Others belong to somebody on the internet.
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_PRIVATE6 = IPv6Network("fc00::/7")


def subnet(value: str) -> str | None:
    """None for a private IPv4 network of 6 to 65,534 hosts, else what is wrong."""
    try:
        found = IPv4Network(value)
    except ValueError:
        found = None
    fits = found and 16 <= found.prefixlen <= 29 and any(found.subnet_of(private) for private in _PRIVATE)
    return None if fits else "must be a private IPv4 network from /16 to /29, as 10.13.13.0/24"


def subnet6(value: str) -> str | None:
    """None for a unique local IPv6 network, else what is wrong."""
    try:
        found = IPv6Network(value)
    except ValueError:
        found = None
    fits = found and 48 <= found.prefixlen <= 112 and found.subnet_of(_PRIVATE6)
    return None if fits else "must be a unique local IPv6 network from /48 to /112, as fd13:13:13::/64"


def endpoint(value: str) -> str | None:
    """None for a host name or address, with or without a port, else what is wrong."""
    try:
        split(value)
    except ValueError:
        return "must be a host name or an address, as vpn.example.org, 203.0.113.5:51820 or [2001:db8::1]:51820"
    return None


def split(value: str) -> tuple[str, int | None]:
    """(host, port or None) of an endpoint. ValueError for what is none."""
    try:
        return str(ipaddress.ip_address(value)), None
    except ValueError:
        pass
    match = re.fullmatch(
        r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?))(?::(\d{1,5}))?", value
    )
    if not match or (match[4] and not 1 <= int(match[4]) <= 65535):
        raise ValueError(value)
    if match[1]:
        ipaddress.IPv6Address(match[1])
    elif re.fullmatch(r"[\d.]+", match[2]):
        ipaddress.IPv4Address(match[2])
    return match[1] or match[2], int(match[4]) if match[4] else None


def join(host: str, port: int) -> str:
    """`host:port` as WireGuard's configuration has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def overlapping(network: str, routes: tuple[str, ...]) -> list[str]:
    """Those of `routes` that share addresses with `network`."""
    wanted = ipaddress.ip_network(network)
    found = (ipaddress.ip_network(route) for route in routes)
    return [str(route) for route in found if route.version == wanted.version and route.overlaps(wanted)]
