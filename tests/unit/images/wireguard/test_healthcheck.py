"""The health check tells what is wrong."""

from __future__ import annotations

import http.server
import socket
import socketserver
import threading
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from images.wireguard.vpn import healthcheck
from images.wireguard.vpn.settings import Settings

# Its first host is a loopback address that nothing else listens on.
HERE = Settings(subnet=IPv4Network("127.13.13.0/24"))


@pytest.fixture
def gate() -> Iterator[tuple[int, list[int]]]:
    """(port, status): a gate on that address, which answers with the status in the list."""
    status = [421]

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with socketserver.TCPServer(("127.13.13.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], status
        server.shutdown()


def _interface(folder: Path, flags: str) -> Path:
    (folder / "wg0").mkdir()
    (folder / "wg0" / "flags").write_text(flags)
    return folder


def test_no_interface_and_one_that_is_down_are_told(tmp_path: Path) -> None:
    assert healthcheck.trouble(HERE, tmp_path) == "there is no wg0"
    assert healthcheck.trouble(HERE, _interface(tmp_path, "0x90\n")) == "wg0 is down"


def test_a_gate_that_is_not_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.13.13.1", 0))
        port = closed.getsockname()[1]
        assert "does not answer" in str(healthcheck.trouble(HERE, _interface(tmp_path, "0x91\n"), port))


def test_a_gate_that_refuses_a_strange_name_is_well(tmp_path: Path, gate: tuple[int, list[int]]) -> None:
    port, status = gate
    assert healthcheck.trouble(HERE, _interface(tmp_path, "0x91\n"), port) is None
    status[0] = 500
    assert "answered 500" in str(healthcheck.trouble(HERE, tmp_path, port))
