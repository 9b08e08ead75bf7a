"""One request: what it sends, what it follows, and where it ends."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatproxy.adapters.connecting import Timeouts
from chatproxy.adapters.destinations import Destinations
from chatproxy.adapters.fetching import Fetched, Fetcher, user_agent
from chatproxy.core.crawling import Validators
from chatproxy.core.knowledge import FetchError
from chatproxy.errors import ConfigurationError
from tests.unit.proxy.adapters.crawled_site import Answer, Listener, Site, redirect

AGENT = "TestCrawler/1.0 (+https://example.test/)"
MB = 1 << 20


def fetcher(**options: object) -> Fetcher:
    """One to which every name is this machine."""
    return Fetcher(AGENT, destinations=Destinations(resolve=lambda host, port: ["127.0.0.1"]), **options)  # type: ignore[arg-type]


def fetch(site: Site, path: str = "/", *, using: Fetcher | None = None, **options: object) -> Fetched:
    allowed = {("127.0.0.1", site.port), ("other.test", site.port)}
    return (using or fetcher()).fetch(site.url + path, allowed=allowed, **options)  # type: ignore[arg-type]


@contextmanager
def raw(*pieces: bytes | float, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A port that sends `pieces` (a number = seconds of silence) to whoever connects first; TLS only if asked for."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                connection, _ = listening.accept()
                with tls.wrap_socket(connection, server_side=True) if tls else connection as accepted:
                    accepted.recv(65536)
                    for piece in pieces:
                        accepted.sendall(piece) if isinstance(piece, bytes) else time.sleep(piece)
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        yield int(listening.getsockname()[1])


def fetch_raw(port: int, *, scheme: str = "http", **options: object) -> Fetched:
    url = f"{scheme}://shop.test:{port}/"
    return fetcher(**options).fetch(url, allowed={("shop.test", port)})


def drip(head: bytes, unit: bytes, times: int = 100) -> list[bytes | float]:
    return [head, *(each for _ in range(times) for each in (0.05, unit))]


def test_the_request_says_who_asks_and_nothing_else_about_us() -> None:
    with Site({"/a?b=c": (200, {"Set-Cookie": "id=1"}, b"x")}) as site:
        fetch(site, "/a?b=c#d")
        fetch(site, "/a?b=c")
    assert site.asked == ["/a?b=c"] * 2
    assert site.heads[1]["user-agent"] == AGENT
    assert not {"cookie", "authorization", "referer"} & site.heads[1].keys()


def test_the_agent_names_whom_to_turn_to() -> None:
    assert user_agent("https://example.test/bot") == "ChatproxyCrawler/1.0 (+https://example.test/bot)"
    assert user_agent("") == "ChatproxyCrawler/1.0"
    for wrong in ("a\r\nHost: b", "ü", "a) (b"):
        with pytest.raises(ConfigurationError):
            user_agent(wrong)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Listener()
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    with Site({"/": (200, {}, b"direct")}) as site:
        assert fetch(site).body == b"direct"
    assert proxy.connections == []
    proxy.close()


def test_redirects_are_followed_five_times() -> None:
    answers = {f"/{n}": redirect(f"/{n + 1}", 301 + n % 2) for n in range(6)}
    with Site({**answers, "/6": (200, {}, b"end")}) as site:
        assert fetch(site, "/1").body == b"end"
        with pytest.raises(FetchError, match="more than 5 redirects"):
            fetch(site, "/0")


def test_a_redirect_is_told_before_it_is_followed() -> None:
    def refuse(target: object, permanently: bool) -> None:
        raise FetchError("fetch_robots", "no")

    with Site({"/": redirect("/next"), "/next": (200, {}, b"x")}) as site, pytest.raises(FetchError, match="no"):
        fetch(site, on_redirect=refuse)
    assert site.asked == ["/"]


def test_validators_make_the_request_conditional_but_not_behind_a_redirect() -> None:
    def answer(headers: object) -> Answer:
        return (304, {}, b"") if '"7"' in str(headers) else (200, {}, b"new")

    with Site({"/": answer, "/old": redirect("/")}) as site:
        known = Validators('"7"', "Sat, 21 Nov 2026 10:00:00 GMT")
        assert fetch(site, validators=known).status == 304
        assert site.heads[0]["if-modified-since"] == known.last_modified
        assert fetch(site, "/old", validators=known).body == b"new"


def test_validators_that_are_no_header_are_not_sent() -> None:
    with Site({"/": (200, {}, b"x")}) as site:
        assert fetch(site, validators=Validators('"a\r\nHost: inside"', "ü")).status == 200
    assert not {"if-none-match", "if-modified-since"} & site.heads[0].keys()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"x" * (2 * MB), ""),
        (gzip.compress(b"\0" * (200 * MB), 9), "gzip"),
        (zlib.compress(b"\0" * (50 * MB)), "deflate"),
    ],
    ids=["plain", "gzip bomb", "deflate bomb"],
)
def test_a_body_is_read_no_further_than_allowed_unpacked_too(body: bytes, encoding: str) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    with Site({"/": (200, headers, body)}) as site, pytest.raises(FetchError) as caught:
        fetch(site, using=fetcher(most_bytes=MB))
    assert caught.value.code == "fetch_too_large"


def test_a_bomb_in_a_bomb_does_not_unfold() -> None:
    body = gzip.compress(gzip.compress(b"\0" * (100 * MB), 9), 9)
    with Site({"/": (200, {"Content-Encoding": "gzip, gzip"}, body)}) as site, pytest.raises(FetchError) as caught:
        fetch(site, using=fetcher(most_bytes=MB))
    assert caught.value.code == "fetch_too_large"


def test_a_body_without_end_is_left() -> None:
    with raw(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 65536] * 64) as port, pytest.raises(FetchError) as caught:
        fetch_raw(port, most_bytes=MB)
    assert caught.value.code == "fetch_too_large"


def test_what_is_not_wanted_is_not_read() -> None:
    with raw(b"HTTP/1.1 200 OK\r\nContent-Type: Image/PNG; x=y\r\nContent-Length: 9999999999\r\n\r\n", 5.0) as port:
        began = time.monotonic()
        fetched = fetcher().fetch(
            f"http://shop.test:{port}/",
            allowed={("shop.test", port)},
            wanted=lambda address, media: media != "image/png",
        )
    assert (fetched.media_type, fetched.body) == ("image/png", b"")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "pieces",
    [
        [6.0],
        drip(b"HTTP/1.1 200 OK\r\n", b"X-Drip: 1\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"z"),
        drip(b"HTTP/1.1 200 OK\r\n\r\n", b"z"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nz\r\n"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silence", "headers", "one header", "body", "body to the end", "chunks", "informational"],
)
def test_a_server_that_takes_its_time_is_left_when_the_whole_time_is_up(pieces: list[bytes | float]) -> None:
    began = time.monotonic()
    with raw(*pieces) as port, pytest.raises(FetchError) as caught:
        fetch_raw(port, timeouts=Timeouts(connect_s=0.4, read_s=0.4, total_s=0.6))
    assert caught.value.code == "fetch_failed"
    assert time.monotonic() - began < 3


def test_silence_ends_sooner_than_the_whole_time() -> None:
    began = time.monotonic()
    with raw(6.0) as port, pytest.raises(FetchError, match="no answer in time"):
        fetch_raw(port, timeouts=Timeouts(connect_s=5, read_s=0.3, total_s=6))
    assert time.monotonic() - began < 3


def test_a_tls_handshake_that_drips_is_left_too() -> None:
    began = time.monotonic()
    with raw(*drip(b"\x16\x03\x03\x40\x00", b"\x02")) as port, pytest.raises(FetchError, match=r"took longer|in time"):
        fetch_raw(port, scheme="https", timeouts=Timeouts(connect_s=0.4, read_s=0.4, total_s=0.6))
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "ended before"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "ended before"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab", "ended before|not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", "compression is broken"),
        (b"", "ended before"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "not speak HTTP"),
    ],
)
def test_an_answer_that_is_none_is_a_failure_with_a_reason(sent: bytes, reason: str) -> None:
    with raw(sent) as port, pytest.raises(FetchError, match=reason) as caught:
        fetch_raw(port)
    assert caught.value.code == "fetch_failed"


def test_nobody_there_and_no_such_name_are_failures() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(FetchError, match="connection refused"):
        fetch_raw(port)
    with pytest.raises(FetchError, match="does not resolve"):
        Fetcher(AGENT, destinations=Destinations(resolve=lambda host, port: [])).fetch("http://nowhere.test/")


def test_the_next_address_is_tried_where_one_cannot_be_reached() -> None:
    with Site({"/": (200, {}, b"here")}) as site:
        both = Destinations(resolve=lambda host, port: ["127.0.0.9", "127.0.0.1"])
        url = f"http://shop.test:{site.port}/"
        assert Fetcher(AGENT, destinations=both).fetch(url, allowed={("shop.test", site.port)}).body == b"here"


def _tls(folder: Path, name: str) -> ssl.SSLContext:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "1"]
    subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_sni_and_certificate_go_by_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, names = _tls(tmp_path, "shop.test"), []
    context.sni_callback = lambda _, name, __: names.append(name)  # type: ignore[assignment]
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with raw(OK, tls=context) as port:
        assert fetch_raw(port, scheme="https").body == b"ok"
    assert names == ["shop.test"]


@pytest.mark.parametrize(("name", "trusted"), [("other.test", True), ("shop.test", False)])
def test_a_certificate_for_another_name_or_of_nobody_is_refused(
    name: str, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _tls(tmp_path, name)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with raw(OK, tls=context) as port, pytest.raises(FetchError, match="cannot be relied on"):
        fetch_raw(port, scheme="https")


def test_a_redirect_from_https_to_another_hosts_http_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _tls(tmp_path, "shop.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    sent = b"HTTP/1.1 302 Found\r\nLocation: http://other.test/\r\nContent-Length: 0\r\n\r\n"
    with raw(sent, tls=context) as port, pytest.raises(FetchError, match="unencrypted") as caught:
        fetch_raw(port, scheme="https")
    assert caught.value.code == "fetch_refused"
