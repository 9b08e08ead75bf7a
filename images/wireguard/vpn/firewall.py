"""What may come in: nftables rules in this container's own network namespace, put in force before wg0 is there.

Linux answers for all its addresses on every interface, so that a neighbour on another network could ask the gate
through this container's address there. Therefore every rule names the interface. Only our own table is replaced:
Docker's name service in this namespace is made of rules too.
"""

from __future__ import annotations

from .gate import PORTS
from .interface import run
from .settings import INTERFACE, LISTEN_PORT, Settings

# Never forwarded to, WG_INTERNET or not: this machine's networks, its neighbours', the cloud's metadata service
# (169.254.169.254), and what is no single address (RFC 6890).
_NOT_INTERNET = (
    "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, "
    "192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3"
)
# Global unicast, less what carries IPv4 addresses inside (6to4, Teredo).
_INTERNET6 = "2000::/3"
_NOT_INTERNET6 = "2001::/32, 2002::/16"

_RULES = """\
table inet gate {{}}
delete table inet gate
table inet gate {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state invalid drop
        ct state established,related accept
        iifname "{wg}" ip daddr {ipv4} tcp dport {{ {ports} }} accept
        iifname "{wg}" ip6 daddr {ipv6} tcp dport {{ {ports} }} accept
        iifname "{wg}" ip daddr {ipv4} icmp type echo-request accept
        iifname "{wg}" ip6 daddr {ipv6} icmpv6 type echo-request accept
        iifname "{wg}" drop
        iifname "{outward}" udp dport {listen} accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
{forwarded}    }}
{masquerade}}}
"""
_FORWARDED = """\
        iifname "{outward}" oifname "{wg}" ct state established,related accept
        iifname "{wg}" oifname "{outward}" ip daddr != {{ {not_internet} }} accept
        iifname "{wg}" oifname "{outward}" ip6 daddr {internet6} ip6 daddr != {{ {not_internet6} }} accept
"""
_MASQUERADE = """\
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname "{outward}" ip saddr {subnet} masquerade
        oifname "{outward}" ip6 saddr {subnet6} masquerade
    }}
"""


def rules(settings: Settings, outward: str) -> str:
    """The whole table as text for `nft -f`; `outward` is the interface of the network `vpn`."""
    ipv4, ipv6 = settings.server
    names = {
        "wg": INTERFACE,
        "outward": outward,
        "ipv4": ipv4,
        "ipv6": ipv6,
        "listen": LISTEN_PORT,
        "ports": ", ".join(map(str, PORTS)),
        "subnet": settings.subnet,
        "subnet6": settings.subnet6,
        "not_internet": _NOT_INTERNET,
        "internet6": _INTERNET6,
        "not_internet6": _NOT_INTERNET6,
    }
    forwarded = _FORWARDED.format(**names) if settings.internet else ""
    masquerade = _MASQUERADE.format(**names) if settings.internet else ""
    return _RULES.format(**names, forwarded=forwarded, masquerade=masquerade)


def apply(text: str) -> None:
    """Put the rules in force, all of them or none."""
    run(["nft", "-f", "-"], given=text)
