"""The interface wg0: the kernel's own WireGuard, or wireguard-go where the kernel has none."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .peers import Traffic
from .refusal import RefusedError
from .settings import INTERFACE, Settings

_SOCKET = Path("/run/wireguard") / f"{INTERFACE}.sock"
_TUN = Path("/dev/net/tun")
_START_S = 10.0

Program = subprocess.Popen[bytes]


def make() -> Program | None:
    """Make wg0, without addresses and down. wireguard-go's process, or None where the kernel does the work."""
    run(["ip", "link", "delete", INTERFACE], check=False)
    status, reason = run(["ip", "link", "add", INTERFACE, "type", "wireguard"], check=False)
    if status == 0:
        say("WireGuard of the kernel")
        return None
    say(f"the kernel has no WireGuard ({reason}), so wireguard-go carries the packets: the same protocol, slower")
    if not _TUN.exists():
        raise RefusedError("wireguard.no_tun", f"there is no {_TUN} for wireguard-go", "on the host: modprobe tun")
    program = subprocess.Popen(
        ["wireguard-go", "--foreground", INTERFACE],
        env={"PATH": os.environ["PATH"], "LOG_LEVEL": "error"},
        # Its advice to use a newer kernel is said above.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + _START_S
    while not _SOCKET.exists():
        if program.poll() is not None or time.monotonic() > deadline:
            raise RefusedError("wireguard.failed", "wireguard-go did not start", "does the container have NET_ADMIN?")
        time.sleep(0.05)
    return program


def bring_up(settings: Settings) -> None:
    """Give wg0 the server's addresses and start it."""
    ipv4, ipv6 = settings.server
    run(["ip", "address", "add", f"{ipv4}/{settings.subnet.prefixlen}", "dev", INTERFACE])
    # Nobody else can have it, and until that were found out nothing could listen on it.
    run(["ip", "address", "add", f"{ipv6}/{settings.subnet6.prefixlen}", "dev", INTERFACE, "nodad"])
    run(["ip", "link", "set", INTERFACE, "mtu", str(settings.mtu), "up"])


def sync(configuration: str) -> None:
    """Put keys and peers in force; sessions of peers that stay go on. By a pipe: no file holds the keys."""
    run(["wg", "syncconf", INTERFACE, "/dev/stdin"], given=configuration)


def traffic() -> dict[str, Traffic]:
    """{public key: what was seen of it}. Asked piece by piece: `wg show dump` would print keys."""
    seen: dict[str, Traffic] = {}
    moments = dict(line.split("\t") for line in _lines("latest-handshakes"))
    for line in _lines("transfer"):
        key, received, sent = line.split("\t")
        seen[key] = Traffic(int(moments.get(key, 0)), int(received), int(sent))
    return seen


def outward() -> str:
    """The interface of the network `vpn`, the only one with a way out of this container."""
    done = subprocess.run(["ip", "-j", "-4", "route", "show", "default"], capture_output=True, text=True, check=False)
    routes = json.loads(done.stdout or "[]")
    if not routes:
        fact = "this container has no way out, so nobody can reach it"
        raise RefusedError("wireguard.no_way_out", fact, "it needs the network `vpn`: see compose/wireguard.yml")
    return str(routes[0]["dev"])


def run(command: Sequence[str], *, given: str = "", check: bool = True) -> tuple[int, str]:
    """(exit status, last line of stderr); RefusedError for a failure, unless `check` is off."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    if check and done.returncode != 0:
        raise RefusedError("wireguard.failed", f"`{' '.join(command)}` failed: {reason}", "`make doctor` looks closer")
    return done.returncode, reason


def say(text: str) -> None:
    print(f"wireguard: {text}", flush=True)


def _lines(what: str) -> list[str]:
    done = subprocess.run(["wg", "show", INTERFACE, what], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()
