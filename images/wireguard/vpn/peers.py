"""Peers made, looked at and taken away. What changes is in force at once, and no other peer's session ends for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from . import config, keys
from .refusal import RefusedError
from .settings import Settings
from .state import Peer, Server, State, check_name


@dataclass(frozen=True)
class Traffic:
    """handshake_at: seconds since 1970, 0 = never; bytes as the server counts them."""

    handshake_at: int = 0
    received: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Added:
    """made: the peer is new; rewritten: its config differs from what was there before; config: it is there.

    outdated: it is not there, and what was last written no longer fits.
    """

    peer: Peer
    made: bool
    rewritten: bool
    config: bool
    outdated: bool = False


class Peers:
    """The peers of one server.

    apply: puts a configuration of `wg syncconf` in force.
    """

    def __init__(self, state: State, settings: Settings, apply: Callable[[str], None]) -> None:
        self._state, self._settings, self._apply = state, settings, apply

    def begin(self) -> list[str]:
        """Make the server's keys where there are none; bring configs up to date with the settings, and name these."""
        with self._state.locked():
            if self._state.server() is None:
                private_key = keys.private()
                self._state.keep_server(Server(keys.public(private_key), private_key))
            return [peer.name for peer in self._state.peers() if self._refresh(peer)]

    def outdated(self) -> list[str]:
        """Who has, at best, a config that no longer fits, and that is no longer here to be written anew."""
        return [peer.name for peer in self._state.peers() if self._outdated(peer)]

    def put_in_force(self) -> None:
        """Tell the interface who may come in."""
        # A peer that were removed between reading and applying would come back.
        with self._state.locked():
            self._put_in_force()

    def add(self, name: str, endpoint: str, *, own_endpoint: bool = False) -> Added:
        """The peer of this name, made if there is none. `own_endpoint`: given for this peer, not by the settings."""
        check_name(name)
        with self._state.locked():
            known = self._state.peer(name)
            if known is None:
                added = self._make(name, endpoint, own_endpoint)
            else:
                peer = replace(known, endpoint=endpoint, own_endpoint=own_endpoint)
                # An endpoint of the peer's own stays until another one is given.
                peer = known if known.own_endpoint and not own_endpoint else peer
                if peer != known:
                    self._state.keep_peer(peer)
                rewritten = self._refresh(peer)
                there = self._state.config(name) is not None
                added = Added(peer, False, rewritten, there, self._outdated(peer))
            self._put_in_force()
        return added

    def remove(self, name: str) -> Peer:
        """Take a peer away. Nothing that it sends is answered from here on."""
        check_name(name)
        with self._state.locked():
            peer = self._state.peer(name)
            if peer is None:
                names = ", ".join(each.name for each in self._state.peers()) or "there are none"
                raise RefusedError("wireguard.peer_unknown", f"there is no peer {name}", f"the peers: {names}")
            self._state.forget_peer(name)
            # Out first; that its address is free again can wait.
            self._put_in_force()
            self._state.keep_numbers(self._state.numbers().give_back(peer.number))
        return peer

    def told(self, traffic: Mapping[str, Traffic]) -> list[dict[str, object]]:
        """The peers as JSON shows them, without any secret; `traffic` by public key."""
        shown: list[dict[str, object]] = []
        for peer in self._state.peers():
            ipv4, ipv6 = self._settings.addresses(peer.number)
            seen = traffic.get(peer.public_key, Traffic())
            shown.append(
                {
                    "name": peer.name,
                    "addresses": [str(ipv4), str(ipv6)],
                    "public_key": peer.public_key,
                    "endpoint": peer.endpoint,
                    "last_handshake": seen.handshake_at or None,
                    "bytes_received": seen.received,
                    "bytes_sent": seen.sent,
                    "outdated": self._outdated(peer),
                }
            )
        return shown

    def _put_in_force(self) -> None:
        """The same for who holds the lock: it cannot be taken twice."""
        self._apply(config.server_side(self._server(), self._state.peers(), self._settings))

    def _server(self) -> Server:
        server = self._state.server()
        if server is None:
            raise RefusedError("wireguard.no_keys", "the server has no keys yet", "`make restart SERVICE=wireguard`")
        return server

    def _make(self, name: str, endpoint: str, own_endpoint: bool) -> Added:
        number, left = self._state.numbers().take(self._settings.last_number)
        private_key = keys.private()
        peer = Peer(name, number, keys.public(private_key), keys.preshared(), endpoint, own_endpoint)
        text = config.peer_side(self._server(), peer, private_key, self._settings)
        peer = replace(peer, written=config.decided(text))
        # In this order a crash in between leaves at worst a number that nobody has, or a config without a peer.
        self._state.keep_numbers(left)
        self._state.keep_config(name, text)
        self._state.keep_peer(peer)
        return Added(peer, True, True, True)

    def _refresh(self, peer: Peer) -> bool:
        """Write a peer's config anew where the settings have changed. True when it was."""
        text = self._state.config(peer.name)
        private_key = config.private_key_of(text) if text else None
        wanted = config.peer_side(self._server(), peer, private_key or "", self._settings)
        rewritten = private_key is not None and wanted != text
        if rewritten:
            self._state.keep_config(peer.name, wanted)
        # Of a config that was taken away before this was kept, it is not known: it is held to fit today.
        if (private_key or not peer.written) and peer.written != config.decided(wanted):
            self._state.keep_peer(replace(peer, written=config.decided(wanted)))
        return rewritten

    def _outdated(self, peer: Peer) -> bool:
        if not peer.written or self._state.config(peer.name) is not None:
            return False
        return peer.written != config.decided(config.peer_side(self._server(), peer, "", self._settings))
