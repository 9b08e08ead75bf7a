"""The streaming POST: silence is told, over TLS too; what is no complete HTTP answer is a typed failure."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from chatproxy.adapters.transport import Head, post
from chatproxy.errors import EngineFailure

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def server(*pieces: bytes | float, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Sends `pieces` (a number = seconds of silence) to whoever posts first, then closes. Gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with tls.wrap_socket(connection, server_side=True) if tls else connection as accepted:
                accepted.recv(65536)
                for piece in pieces:
                    if isinstance(piece, bytes):
                        accepted.sendall(piece)
                    else:
                        time.sleep(piece)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{'https' if tls else 'http'}://localhost:{listening.getsockname()[1]}/v1/completions"
        thread.join(5)


def asked(url: str, tick_s: float = 0.1) -> list[Head | bytes | None]:
    return list(post(url, b"{}", {}, tick_s=tick_s))


def test_the_request_is_out_then_head_and_body_come() -> None:
    with server(OK + b"Content-Length: 4\r\nX-Kind: Y\r\n\r\nab", b"cd") as url:
        first, head, *body = asked(url)
    assert first is None
    assert head == Head(200, {"content-length": "4", "x-kind": "Y"})
    assert b"".join(piece for piece in body if isinstance(piece, bytes)) == b"abcd"


def test_silence_before_the_head_and_within_the_body_is_told() -> None:
    with server(0.35, OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", 0.35, b"0\r\n\r\n") as url:
        told = asked(url)
    assert 3 <= told[: told.index(b"ab")].count(None) <= 4  # the request's own, and two or three of silence
    assert 2 <= told[told.index(b"ab") :].count(None) <= 3


def test_silence_is_told_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "1"]
    subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with server(0.35, OK + b"Content-Length: 2\r\n\r\na", 0.35, b"b", tls=context) as url:
        told = asked(url)
    assert told.count(None) >= 5
    assert [piece for piece in told if isinstance(piece, bytes)] == [b"a", b"b"]


def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    with server(b"HTTP/1.0 200 OK\r\n\r\nab", b"c") as url:
        assert b"".join(piece for piece in asked(url) if isinstance(piece, bytes)) == b"abc"


def test_an_informational_answer_goes_before() -> None:
    with server(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na") as url:
        assert asked(url)[1:] == [Head(200, {"content-length": "1"}), b"a"]


def test_what_comes_behind_a_complete_answer_is_left() -> None:
    with server(OK + b"Content-Length: 1\r\nConnection: close\r\n\r\na, and more") as url:
        assert asked(url)[2:] == [b"a"]


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (OK,),
        (OK + b"Content-Length: 9\r\n\r\nab",),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n",),
        (b"SSH-2.0-OpenSSH_9.2\r\n",),
        (OK + b"X: " + b"x" * 200_000,),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nab",),
    ],
    ids=[
        "nothing",
        "half a head",
        "half a body",
        "no last chunk",
        "no chunk",
        "no HTTP",
        "a head without end",
        "not HTTP any more",
    ],
)
def test_no_complete_answer_is_a_failure(pieces: tuple[bytes, ...]) -> None:
    with server(*pieces) as url, pytest.raises(EngineFailure):
        asked(url)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(EngineFailure, match="refused"):
        asked(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("value", ["a\r\nX: y", "ключ"])
def test_a_header_that_cannot_be_sent_is_refused(value: str) -> None:
    with server() as url, pytest.raises(EngineFailure, match="characters"):
        list(post(url, b"{}", {"Authorization": value}, tick_s=1))


def test_leaving_closes_the_connection() -> None:
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                while connection.recv(65536):
                    pass
                left.set()

        threading.Thread(target=serve, daemon=True).start()
        with closing(post(f"http://127.0.0.1:{listening.getsockname()[1]}/", b"{}", {}, tick_s=0.05)) as answer:
            assert next(answer) is None
        assert left.wait(2)
