"""Checks of what WireGuard's container needs, once there is one."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.lib import networks
from scripts.lib.findings import ERROR, Finding
from scripts.lib.situation import Situation


def wireguard(s: Situation) -> Iterator[Finding]:
    host, settings = s.host, s.settings
    if not host.wireguard:
        return
    if not host.tun:
        hint = "`modprobe tun`; in a virtual server of the container kind the provider has to allow it"
        yield Finding("wireguard.no_tun", ERROR, "this machine has no /dev/net/tun, which WireGuard needs", hint)
    if not host.ipv6:
        hint = "start it without ipv6.disable=1; no IPv6 address is needed"
        yield Finding("wireguard.no_ipv6", ERROR, "this machine's kernel has no IPv6, which the tunnel uses", hint)
    port = settings["WG_PORT"]
    if port in host.udp_ports and port not in host.own_ports:
        holder = host.udp_ports[port] or "another process (root could see which; the kernel's own WireGuard has none)"
        hint = "stop it, or set WG_PORT in .env to a free port"
        yield Finding("port.taken", ERROR, f"UDP port {port} (WG_PORT) is held by {holder}", hint)
    for name in ("WG_SUBNET", "WG_SUBNET6"):
        taken = networks.overlapping(settings[name], host.routes)
        if taken:
            fact = f"{name}={settings[name]} collides with {', '.join(taken)}, which this machine has a way to already"
            hint = f"set {name} in .env to a free network, then `make up`, and import the configs again"
            yield Finding("wireguard.subnet_taken", ERROR, fact, hint)
