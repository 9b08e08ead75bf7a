"""Peers made, made again, changed by settings, and taken away."""

from __future__ import annotations

import threading
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from images.wireguard.vpn import config
from images.wireguard.vpn.peers import Peers, Traffic
from images.wireguard.vpn.refusal import RefusedError
from images.wireguard.vpn.settings import Settings
from images.wireguard.vpn.state import State

ENDPOINT = "chat.example.org:51820"


@pytest.fixture
def applied() -> list[str]:
    """Every configuration that was put in force."""
    return []


@pytest.fixture
def peers(state: State, settings: Settings, applied: list[str], wg: Path) -> Peers:
    made = Peers(state, settings, applied.append)
    made.begin()
    return made


def _contents(state: State) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in state.folder.rglob("*") if file.is_file()}


def test_server_keys_are_made_once(peers: Peers, state: State) -> None:
    server = state.server()
    peers.begin()
    assert server is not None and state.server() == server


def test_a_peer_gets_keys_addresses_and_a_config_and_is_in_force_at_once(
    peers: Peers, state: State, settings: Settings, applied: list[str]
) -> None:
    added = peers.add("laptop", ENDPOINT)
    assert (added.made, added.peer.number) == (True, 2)
    text = state.config("laptop") or ""
    private_key = config.private_key_of(text)
    server = state.server()
    assert private_key and server
    assert text == config.peer_side(server, added.peer, private_key, settings)
    assert f"PublicKey = {added.peer.public_key}" in applied[-1]
    assert f"PresharedKey = {added.peer.preshared_key}" in applied[-1]
    assert "AllowedIPs = 10.13.13.2/32, fd13:13:13::2/128" in applied[-1]
    assert private_key not in applied[-1], "the peer's own key is no matter of the server's"


def test_no_key_is_an_argument(peers: Peers, state: State, wg: Path) -> None:
    peers.add("laptop", ENDPOINT)
    assert (wg / "calls").read_text().split("\n") == ["genkey", "pubkey", "genkey", "pubkey", "genpsk", ""]


def test_a_program_that_makes_no_key_is_refused_without_showing_what_it_made(peers: Peers, wg: Path) -> None:
    (wg / "wg").write_text("#!/bin/sh\necho half-a-key\n")
    with pytest.raises(RefusedError) as caught:
        peers.add("laptop", ENDPOINT)
    assert caught.value.id == "wireguard.keys_failed"
    assert "half-a-key" not in str(caught.value)


def test_the_same_name_again_changes_nothing(peers: Peers, state: State) -> None:
    first = peers.add("laptop", ENDPOINT)
    before = _contents(state)
    again = peers.add("laptop", ENDPOINT)
    assert (again.made, again.rewritten, again.peer) == (False, False, first.peer)
    assert _contents(state) == before


def test_another_endpoint_is_written_into_the_config_and_the_key_stays(peers: Peers, state: State) -> None:
    first = peers.add("laptop", ENDPOINT)
    key = config.private_key_of(state.config("laptop") or "")
    moved = peers.add("laptop", "203.0.113.5:51820")
    assert (moved.made, moved.rewritten, moved.peer.public_key) == (False, True, first.peer.public_key)
    text = state.config("laptop") or ""
    assert "Endpoint = 203.0.113.5:51820" in text and config.private_key_of(text) == key


def test_an_endpoint_given_for_one_peer_outlasts_the_settings(peers: Peers, state: State) -> None:
    peers.add("laptop", "home.example:1", own_endpoint=True)
    assert not peers.add("laptop", ENDPOINT).rewritten
    assert "Endpoint = home.example:1" in (state.config("laptop") or "")
    assert peers.add("laptop", "work.example:2", own_endpoint=True).rewritten


def test_changed_settings_write_the_configs_anew_at_the_next_start(
    peers: Peers, state: State, settings: Settings
) -> None:
    peers.add("laptop", ENDPOINT)
    later = Peers(state, replace(settings, internet=True, mtu=1280), lambda text: None)
    assert later.begin() == ["laptop"]
    text = state.config("laptop") or ""
    assert "AllowedIPs = 0.0.0.0/0, ::/0" in text and "MTU = 1280" in text and f"Endpoint = {ENDPOINT}" in text
    assert later.begin() == []


def test_a_config_that_was_taken_away_stays_away(peers: Peers, state: State, settings: Settings) -> None:
    peers.add("laptop", ENDPOINT)
    state.config_file("laptop").unlink()
    again = peers.add("laptop", "other.example:1")
    assert (again.made, again.config) == (False, False)
    assert Peers(state, replace(settings, mtu=1280), lambda text: None).begin() == []
    assert state.config("laptop") is None


@pytest.mark.parametrize("change", [{"mtu": 1280}, {"internet": True}, {"subnet": IPv4Network("10.9.0.0/24")}])
def test_a_config_that_was_taken_away_and_no_longer_fits_is_known(
    peers: Peers, state: State, settings: Settings, change: dict[str, Any]
) -> None:
    peers.add("here", ENDPOINT)
    peers.add("laptop", ENDPOINT)
    state.config_file("laptop").unlink()
    assert peers.outdated() == []
    later = Peers(state, replace(settings, **change), lambda text: None)
    for _ in range(2):
        later.begin()
        assert later.outdated() == ["laptop"]
    assert [told["outdated"] for told in later.told({})] == [False, True]
    assert later.add("laptop", ENDPOINT).outdated and not later.add("here", ENDPOINT).outdated
    peers.begin()
    assert peers.outdated() == [], "what the device has fits again"
    later.remove("laptop")
    later.add("laptop", ENDPOINT)
    assert later.outdated() == []


def test_what_was_written_last_counts(peers: Peers, state: State, settings: Settings) -> None:
    peers.add("laptop", ENDPOINT)
    later = Peers(state, replace(settings, mtu=1280), lambda text: None)
    later.begin()
    later.add("laptop", "other.example:1")
    state.config_file("laptop").unlink()
    assert later.outdated() == [] and peers.outdated() == ["laptop"]
    assert later.add("laptop", ENDPOINT).outdated, "the device still calls the other address"


def test_a_peer_of_an_earlier_version_is_known_from_the_first_start(
    peers: Peers, state: State, settings: Settings
) -> None:
    for name in ("gone", "here"):
        state.keep_peer(replace(peers.add(name, ENDPOINT).peer, written=""))
    state.config_file("gone").unlink()
    assert peers.begin() == [] and peers.outdated() == []
    state.config_file("here").unlink()
    assert Peers(state, replace(settings, mtu=1280), lambda text: None).outdated() == ["gone", "here"]


def test_a_removed_peer_is_out_of_force_and_its_address_comes_last(
    peers: Peers, state: State, applied: list[str]
) -> None:
    lost = peers.add("lost", ENDPOINT).peer
    stays = peers.add("stays", ENDPOINT).peer
    peers.remove("lost")
    assert lost.public_key not in applied[-1] and stays.public_key in applied[-1]
    assert state.config("lost") is None
    assert peers.add("lost", ENDPOINT).peer.number == 4
    assert peers.add("lost", ENDPOINT).peer.public_key != lost.public_key


def test_a_start_puts_no_peer_back_in_force_that_is_removed_meanwhile(
    peers: Peers, state: State, settings: Settings, applied: list[str]
) -> None:
    lost = peers.add("lost", ENDPOINT).peer
    removal = threading.Thread(target=peers.remove, args=("lost",))

    def slowly(configuration: str) -> None:
        removal.start()
        removal.join(0.5)
        applied.append(configuration)

    Peers(state, settings, slowly).put_in_force()
    removal.join()
    assert lost.public_key in applied[-2] and lost.public_key not in applied[-1]


def test_removing_nobody_says_who_is_there(peers: Peers) -> None:
    peers.add("laptop", ENDPOINT)
    with pytest.raises(RefusedError) as caught:
        peers.remove("latpop")
    assert (caught.value.id, "laptop" in caught.value.hint) == ("wireguard.peer_unknown", True)


def test_a_bad_name_makes_nothing(peers: Peers, state: State) -> None:
    before = _contents(state)
    with pytest.raises(RefusedError):
        peers.add("../../etc/x", ENDPOINT)
    assert _contents(state) == before


def test_what_is_told_of_peers_holds_no_secret(peers: Peers, state: State) -> None:
    peer = peers.add("laptop", ENDPOINT).peer
    (told,) = peers.told({peer.public_key: Traffic(1000, 5, 6)})
    assert told["addresses"] == ["10.13.13.2", "fd13:13:13::2"]
    assert (told["last_handshake"], told["bytes_received"], told["bytes_sent"]) == (1000, 5, 6)
    assert peer.preshared_key not in str(told)
    assert peers.told({})[0]["last_handshake"] is None
