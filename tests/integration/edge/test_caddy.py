"""The real Caddy with the real Caddyfile, natively: what it speaks, what it refuses, and whom it sends away.

Ports, the proxy's address and the certificate's authority alone are other ones than in the container.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from scripts.lib import paths, venv

PUBLIC = "chat.example.org"
CADDYFILE = paths.ROOT / "compose" / "caddy"
# Forward secrecy and authenticated encryption, as TLS 1.2's suites are called.
STRONG = {
    f"ECDHE-{key}-{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
}


class Proxy(BaseHTTPRequestHandler):
    """Stands where the proxy is, and answers with a word."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} is not in the Caddyfile as it was"
    return text.replace(old, new)


@pytest.fixture(scope="module")
def proxy() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


Start = Callable[[str, str], int]


@pytest.fixture(scope="module")
def start(proxy: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """start(CADDY_SITE, CADDY_TLS) -> the port where it speaks TLS."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(site: str, tls: str) -> int:
        folder = tmp_path_factory.mktemp("caddy")
        shutil.copytree(CADDYFILE, folder / "etc")
        http_port, https_port, health = free_port(), free_port(), free_port()
        file = folder / "etc" / "Caddyfile"
        own = f"\thttp_port {http_port}\n\thttps_port {https_port}\n\tlocal_certs\n"
        text = changed(file.read_text(), "\tadmin off\n", "\tadmin off\n" + own)
        text = changed(text, "proxy:8080", f"127.0.0.1:{proxy}")
        text = changed(text, "http://127.0.0.1:8081", f"http://127.0.0.1:{health}")
        file.write_text(text)
        environment = {
            **os.environ, "CADDY_SITE": site, "CADDY_TLS": tls, "ACME_EMAIL": "a@example.org", "HTTPS_PORT": "443",
            "MAX_BODY": "10MB", "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
        }  # fmt: skip
        words = [paths.VENV / "bin" / "caddy", "run", "--config", file, "--adapter", "caddyfile"]
        running.append(subprocess.Popen(words, env=environment, stderr=(folder / "log").open("wb")))
        waited = time.monotonic()
        while not speaks(https_port, site):
            assert time.monotonic() < waited + 20, (folder / "log").read_text()
            time.sleep(0.1)
        return https_port

    yield begin
    for process in running:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def public(start: Start) -> int:
    return start(PUBLIC, "acme")


def context() -> ssl.SSLContext:
    """One that takes whatever there is: what is refused is the server's refusal."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_ciphers("ALL:@SECLEVEL=0")
    return made


def talk(port: int, site: str = PUBLIC, tls: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=5)
    return (tls or context()).wrap_socket(plain, server_hostname=site)


def speaks(port: int, site: str) -> bool:
    try:
        talk(port, site).close()
    except OSError:
        return False
    return True


def header(port: int, site: str, name: str) -> str | None:
    connection = http.client.HTTPConnection(site)
    connection.sock = talk(port, site)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.read() == b"ok"
    connection.close()
    return answer.getheader(name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_of_tls_are_refused(public: int, version: ssl.TLSVersion) -> None:
    old = context()
    old.minimum_version = old.maximum_version = version
    with pytest.raises(ssl.SSLError, match="alert protocol version"):
        talk(public, tls=old)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_good_versions_are_spoken(public: int, version: ssl.TLSVersion) -> None:
    good = context()
    good.minimum_version = good.maximum_version = version
    with talk(public, tls=good) as connection:
        assert connection.version() == version.name.replace("_", ".")


def test_no_weak_suite_is_taken(public: int) -> None:
    """One by one, as a client that knows no other: each of OpenSSL's for TLS 1.2."""
    taken, refused = set(), set()
    names = {one["name"] for one in context().get_ciphers() if one["protocol"] != "TLSv1.3"}
    # These want a secret that both sides have, so OpenSSL offers none of them here.
    for suite in {name for name in names if "PSK" not in name and "SRP" not in name}:
        one = context()
        one.maximum_version = ssl.TLSVersion.TLSv1_2
        one.set_ciphers(f"{suite}:@SECLEVEL=0")
        try:
            talk(public, tls=one).close()
            taken.add(suite)
        except ssl.SSLError as error:
            assert "alert" in str(error), error
            refused.add(suite)
    assert taken and taken <= STRONG
    assert {"AES128-SHA", "AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA"} <= refused


def test_browsers_keep_to_tls_on_a_public_name_alone(public: int, start: Start) -> None:
    assert header(public, PUBLIC, "Strict-Transport-Security") == "max-age=63072000"
    assert header(public, PUBLIC, "Server") is None
    assert header(start("localhost", "internal"), "localhost", "Strict-Transport-Security") is None


@pytest.mark.long
def test_sslyze_finds_nothing_against_mozillas_advice(public: int) -> None:
    """All but the certificate's path: it is the tests' own authority that signs it."""
    words = [venv.ensure_audit().parent / "sslyze", f"--sni={PUBLIC}", "--mozilla_config=intermediate"]
    told = subprocess.run([*words, f"127.0.0.1:{public}"], capture_output=True, text=True, check=False).stdout
    _, looked, verdict = told.partition('against Mozilla\'s "intermediate" configuration')
    assert looked, told
    deviations = [line.split()[1].rstrip(":") for line in verdict.splitlines() if line.strip().startswith("* ")]
    assert deviations == ["certificate_path_validation"], verdict
    assert "OK - Not vulnerable to Heartbleed" in told and "OK - Compression disabled" in told


def test_a_client_that_dribbles_its_request_is_cut_off(public: int) -> None:
    """read_header is 10 s, however often a byte comes; others are served meanwhile."""
    slow = talk(public)
    slow.settimeout(0.5)
    slow.sendall(b"GET / HTTP/1.1\r\nHost: chat.example.org\r\n")
    began, gone = time.monotonic(), False
    while not gone and time.monotonic() < began + 20:
        assert header(public, PUBLIC, "Referrer-Policy") == "no-referrer"
        try:
            slow.sendall(b"X-A: b\r\n")
            gone = not slow.recv(1000)
        except TimeoutError:
            continue
        except OSError:
            gone = True
    assert gone
    assert 8 < time.monotonic() - began < 15
