"""WireGuard's own configuration format: the server's side for `wg syncconf`, a peer's for its `wg-quick` or app."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .settings import LISTEN_PORT, Settings
from .state import Peer, Server

# Keeps the way through a router's address translation open (seconds; WireGuard's own recommendation).
_KEEPALIVE_S = 25
_EVERYWHERE = "0.0.0.0/0, ::/0"
_DECIDED = re.compile(r"^(?:Address|MTU|Endpoint|AllowedIPs) = .+$", re.MULTILINE)
_PRIVATE_KEY = re.compile(r"^PrivateKey = (\S+)$", re.MULTILINE)


def server_side(server: Server, peers: Iterable[Peer], settings: Settings) -> str:
    """The interface and all peers. Each may use its own two addresses and no others."""
    parts = [f"[Interface]\nPrivateKey = {server.private_key}\nListenPort = {LISTEN_PORT}\n"]
    for peer in peers:
        ipv4, ipv6 = settings.addresses(peer.number)
        parts.append(
            f"[Peer]\nPublicKey = {peer.public_key}\nPresharedKey = {peer.preshared_key}\n"
            f"AllowedIPs = {ipv4}/32, {ipv6}/128\n"
        )
    return "\n".join(parts)


def peer_side(server: Server, peer: Peer, private_key: str, settings: Settings) -> str:
    """What the peer imports: into the tunnel goes what is for the server alone, or everything with WG_INTERNET=on."""
    ipv4, ipv6 = settings.addresses(peer.number)
    own4, own6 = settings.server
    reached = _EVERYWHERE if settings.internet else f"{own4}/32, {own6}/128"
    return (
        f"# {peer.name}: the way in to http://{own4}/\n"
        f"[Interface]\nPrivateKey = {private_key}\nAddress = {ipv4}/32, {ipv6}/128\nMTU = {settings.mtu}\n\n"
        f"[Peer]\nPublicKey = {server.public_key}\nPresharedKey = {peer.preshared_key}\n"
        f"Endpoint = {peer.endpoint}\nAllowedIPs = {reached}\nPersistentKeepalive = {_KEEPALIVE_S}\n"
    )


def decided(text: str) -> str:
    """The lines of a peer's config without keys: where the settings want others, it no longer fits."""
    return "\n".join(_DECIDED.findall(text))


def private_key_of(text: str) -> str | None:
    """The private key in a peer's config, which is kept nowhere else."""
    found = _PRIVATE_KEY.search(text)
    return found[1] if found else None
