"""This machine's addresses and listening ports, from /proc: no tool has to be installed to know them."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterator
from pathlib import Path

# States of a socket in /proc/net: a TCP listener, and a UDP socket without a partner.
_LISTEN, _BOUND = "0A", "07"


def addresses(proc: Path = Path("/proc/net")) -> tuple[str, ...]:
    """The machine's own IPv4 and IPv6 addresses; loopback and link-local left out."""
    found = set(_ipv4(proc)) | set(_ipv6(proc))
    usable = (a for a in map(ipaddress.ip_address, found) if not (a.is_loopback or a.is_link_local or a.is_multicast))
    return tuple(sorted(str(address) for address in usable))


def _ipv4(proc: Path) -> list[str]:
    # In fib_trie an own address is the line before its "/32 host LOCAL".
    text = _read(proc / "fib_trie")
    return re.findall(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL", text)


def _ipv6(proc: Path) -> list[str]:
    return [str(ipaddress.IPv6Address(int(line.split()[0], 16))) for line in _read(proc / "if_inet6").splitlines()]


# Addresses that the internet cannot call: RFC 1918, carrier-grade NAT (RFC 6598), unique local IPv6 (RFC 4193).
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)


def public(among: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a machine's addresses that others can reach it by without a router's help."""
    return tuple(a for a in among if not any(ipaddress.ip_address(a) in network for network in _PRIVATE))


def listening(proc: Path = Path("/proc")) -> dict[str, str]:
    """{TCP port: the process that listens there, as `nginx (pid 812)`, or "" where that may not be seen}."""
    # A listener on 127.0.0.1 alone counts too: it keeps the port from being published on every address.
    return _held(("tcp", "tcp6"), _LISTEN, proc)


def bound(proc: Path = Path("/proc")) -> dict[str, str]:
    """{UDP port: the process that waits there}, as in `listening`; sockets with one partner alone do not count."""
    return _held(("udp", "udp6"), _BOUND, proc)


def _held(tables: tuple[str, ...], state: str, proc: Path) -> dict[str, str]:
    lines = (line.split() for table in tables for line in _read(proc / "net" / table).splitlines()[1:])
    # The kernel's own sockets, as those of its WireGuard, have no inode: 0.
    sockets = {
        (columns[9], str(int(columns[1].rpartition(":")[2], 16)))
        for columns in lines
        if len(columns) > 9 and columns[3] == state
    }
    names = _holders({inode for inode, _ in sockets}, proc) if sockets else {}
    ports: dict[str, str] = {}
    for inode, port in sorted(sockets):
        ports[port] = ports.get(port) or names.get(inode, "")
    return ports


def routes(proc: Path = Path("/proc/net")) -> tuple[str, ...]:
    """The networks that this machine has a way to, as 192.168.1.0/24; the default route and link-local left out."""
    found: set[ipaddress.IPv4Network | ipaddress.IPv6Network] = set()
    for columns in map(str.split, _read(proc / "route").splitlines()[1:]):
        # Both as the processor has them: the first byte last.
        address, mask = (int.from_bytes(bytes.fromhex(columns[place]), "little") for place in (1, 7))
        found.add(ipaddress.IPv4Network((address, mask.bit_count())))
    for columns in map(str.split, _read(proc / "ipv6_route").splitlines()):
        # Multicast and unreachable destinations are here too; the latter lie on lo.
        if columns[-1] != "lo" and not columns[0].startswith("ff"):
            found.add(ipaddress.IPv6Network((int(columns[0], 16), int(columns[1], 16))))
    return tuple(sorted(str(network) for network in found if network.prefixlen and not network.is_link_local))


def outward() -> str:
    """The address that this machine has towards the internet; "" where it has no way there. Nothing is sent."""
    for family, anywhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            # For UDP this only picks the route.
            probe.connect((anywhere, 9))
            return str(probe.getsockname()[0])
    return ""


def _holders(inodes: set[str], proc: Path) -> dict[str, str]:
    """{socket inode: process}. Other users' processes show theirs to root only."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, str] = {}
    for process in proc.glob("[0-9]*"):
        for link in _links(process / "fd"):
            if link in wanted:
                name = _read(process / "comm").strip() or "a process"
                found[wanted[link]] = f"{name} (pid {process.name})"
    return found


def _links(folder: Path) -> Iterator[str]:
    # Files are opened and closed while this looks; what is gone by now listened to nothing.
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        try:
            yield str(entry.readlink())
        except OSError:
            continue


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
