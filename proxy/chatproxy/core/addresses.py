"""Clients' addresses, as far as they are counted."""

from __future__ import annotations

import ipaddress


def counted_as(address: str) -> str:
    """The address under which a client is counted, "" where there is none.

    An IPv6 address counts as its /64, as `2001:db8::/64`: that is what one household or one server gets, and whoever
    has it can use another of its addresses for every request. What is no address at all counts as none.
    """
    # Some proxies in front add the port.
    if address.count(":") == 1 or address.startswith("["):
        address = address.rpartition("]")[0].lstrip("[") or address.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
