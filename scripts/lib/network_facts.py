"""This machine's addresses and listening ports, from /proc: no tool has to be installed to know them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"


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
    inodes: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        for line in _read(proc / "net" / table).splitlines()[1:]:
            columns = line.split()
            if len(columns) > 9 and columns[3] == _LISTEN:
                # A listener on 127.0.0.1 alone counts too: it keeps the port from being published on every address.
                inodes[columns[9]] = str(int(columns[1].rpartition(":")[2], 16))
    names = _holders(set(inodes), proc) if inodes else {}
    ports: dict[str, str] = {}
    for inode, port in inodes.items():
        ports[port] = ports.get(port) or names.get(inode, "")
    return ports


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
