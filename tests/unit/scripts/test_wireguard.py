"""What `make wg-peer` and its sisters take, ask for and say."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scripts.lib import secret_files, wireguard
from scripts.lib.failure import Failure
from scripts.lib.host import Host
from scripts.lib.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
HERE = Host(addresses=("10.0.0.2", "172.17.0.1"), outward="10.0.0.2")
PUBLIC = replace(HERE, addresses=("10.0.0.2", "2001:db8::2", "203.0.113.5"))


def _command(name: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("host", "settings", "given", "address", "says"),
    [
        (PUBLIC, {}, "", "203.0.113.5:51820", "public address"),
        (replace(PUBLIC, addresses=("2001:db8::2",)), {}, "", "[2001:db8::2]:51820", "public address"),
        (HERE, {}, "", "10.0.0.2:51820", "WG_ENDPOINT"),
        (PUBLIC, {"DOMAIN": "chat.example.org"}, "", "chat.example.org:51820", "DOMAIN"),
        (PUBLIC, {"DOMAIN": "198.51.100.7"}, "", "198.51.100.7:51820", "DOMAIN"),
        (PUBLIC, {"DOMAIN": "127.0.0.1"}, "", "203.0.113.5:51820", "public address"),
        (PUBLIC, {"WG_ENDPOINT": "vpn.example.org:443", "DOMAIN": "a.org"}, "", "vpn.example.org:443", "WG_ENDPOINT"),
        (PUBLIC, {"WG_PORT": "5000", "WG_ENDPOINT": "a.org"}, "b.org", "b.org:5000", "given"),
    ],
)
def test_devices_call_the_best_address_there_is(
    wanted: Callable[..., Settings], host: Host, settings: dict[str, str], given: str, address: str, says: str
) -> None:
    found = wireguard.endpoint(wanted(**settings), host, given)
    assert found.address == address
    assert says in found.reason
    assert found.own is bool(given)


def test_an_endpoint_that_is_none_is_refused(wanted: Callable[..., Settings]) -> None:
    with pytest.raises(Failure) as caught:
        wireguard.endpoint(wanted(), PUBLIC, "https://a.org")
    assert caught.value.id == "wireguard.endpoint_invalid"
    with pytest.raises(Failure) as caught:
        wireguard.endpoint(wanted(), Host(), "")
    assert caught.value.id == "wireguard.no_endpoint"


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("", "wireguard.name_missing"),
        *((name, "wireguard.name_invalid") for name in ("Laptop", "my laptop", "../x", "a_b", "a" * 33, "a\n", "ä")),
    ],
)
def test_a_bad_name_is_told_before_anything_starts(name: str, finding: str) -> None:
    with pytest.raises(Failure) as caught:
        wireguard.name_of(name)
    assert caught.value.id == finding
    assert "NAME=laptop" in caught.value.hint


def test_a_good_name_passes() -> None:
    assert [wireguard.name_of(name) for name in ("laptop", "a", "7-b", "a" * 32)] == ["laptop", "a", "7-b", "a" * 32]


def test_peers_are_listed_in_columns() -> None:
    seen = {"last_handshake": 1000, "bytes_received": 2048, "bytes_sent": 5}
    never = {"last_handshake": None, "bytes_received": 0, "bytes_sent": 0}
    peers: list[dict[str, Any]] = [
        {"name": "laptop", "addresses": ["10.13.13.2", "fd13:13:13::2"], **seen},
        {"name": "phone", "addresses": ["10.13.13.3", "fd13:13:13::3"], **never},
    ]
    heading, first, second = wireguard.listed(peers, now=1075.0)
    assert first.split("  ")[0] == "laptop"
    assert "10.13.13.2, fd13:13:13::2" in first and "1 min 15 s ago" in first and first.endswith("5 B")
    assert "never" in second
    assert heading.index("LAST HANDSHAKE") == first.index("1 min 15 s") == second.index("never")


def test_a_device_whose_config_is_gone_and_no_longer_fits_is_said_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = {"addresses": ["10.13.13.2"], "last_handshake": None, "bytes_received": 0, "bytes_sent": 0}
    peers = [{"name": "phone", "outdated": False, **peer}, {"name": "laptop", "outdated": True, **peer}]
    monkeypatch.setattr(wireguard, "reached", lambda: None)
    monkeypatch.setattr(wireguard, "ask", lambda *_: json.dumps(peers))
    monkeypatch.delenv("JSON", raising=False)
    assert _command("wg-peers").main() == 0
    told = capsys.readouterr()
    assert "laptop" in told.out and "phone" in told.out
    (line,) = told.err.splitlines()
    assert "laptop's config is no longer here and no longer fits" in line
    assert "make wg-peer-remove NAME=laptop, then make wg-peer NAME=laptop" in line
    monkeypatch.setenv("JSON", "1")
    assert _command("wg-peers").main() == 0
    told = capsys.readouterr()
    assert (json.loads(told.out), told.err) == (peers, "")


@pytest.mark.parametrize(
    ("outdated", "finding"), [(False, "wireguard.config_gone"), (True, "wireguard.config_outdated")]
)
def test_a_config_that_is_gone_cannot_be_shown(outdated: bool, finding: str) -> None:
    with pytest.raises(Failure) as caught:
        wireguard.refuse_gone("laptop", {"config": False, "outdated": outdated})
    assert caught.value.id == finding
    assert "make wg-peer-remove NAME=laptop" in caught.value.hint
    wireguard.refuse_gone("laptop", {"config": True, "outdated": False})


def test_what_is_said_of_a_peer_names_the_file_and_the_address_and_no_key() -> None:
    told = {"addresses": ["10.13.13.2"], "made": True, "rewritten": True, "server": ["10.13.13.1"]}
    summary = _command("wg-peer")._summary
    made = "\n".join(summary("laptop", told, root=True))
    assert str(ROOT / ".appliance" / "wireguard" / "laptop.conf") in made
    assert "http://10.13.13.1/" in made and "import it" in made and "sudo" not in made
    assert "import it again" in "\n".join(summary("laptop", {**told, "made": False}, root=True))
    again = "\n".join(summary("laptop", {**told, "made": False, "rewritten": False}, root=False))
    assert "is there:" in again and "sudo cat" in again
    assert "15 characters" in "\n".join(summary("a-name-of-22-characters", told, root=True))


def test_a_file_in_a_folder_that_is_closed_to_us_counts_as_there(tmp_path: Path) -> None:
    assert not secret_files.there(tmp_path / "wireguard" / "server.json")
    (tmp_path / "server.json").touch()
    assert secret_files.there(tmp_path / "server.json")
