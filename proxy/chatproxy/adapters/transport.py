"""A streaming request that can be left at any moment, over HTTP/1.0 and 1.1, plain or TLS.

Ordinary calls go through `requests` (adapters/calls.py). A generation cannot: while an engine reads a prompt it sends
nothing, not even headers, for minutes, and a thread blocked in a library's read can neither ping its client nor notice
that the client has left. Here a read ends after a moment of silence, which is handed to the caller.

The kernel keeps that time (SO_RCVTIMEO), so that a token costs one system call to read: with hundreds of streams each
further one is another turn of waiting for the interpreter. The bytes are parsed by llhttp, as in Node.js.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from chatproxy.errors import EngineFailure

CONNECT_TIMEOUT_S = 5.0
# The request may take so long to send; waiting for the engine is not limited here.
_WRITE_TIMEOUT_S = 30.0
_READ_BYTES = 65536
# llhttp would take status line and headers of any size.
_LONGEST_HEAD = 65536


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers (names in lower case) of the answer; comes before any body."""

    status: int
    headers: Mapping[str, str]


def post(url: str, body: bytes, headers: Mapping[str, str], *, tick_s: float) -> Generator[Head | bytes | None]:
    """POST JSON to `url`: see `exchange`."""
    parts = urlsplit(url)
    fields = {"Content-Type": "application/json", **headers}
    return exchange(f"{parts.scheme}://{parts.netloc}", "POST", parts.path or "/", body, fields, tick_s=tick_s)


def exchange(
    base: str, method: str, target: str, body: bytes, headers: Mapping[str, str], *, tick_s: float
) -> Generator[Head | bytes | None]:
    """Yield None when the request is out, then Head and pieces of the body; None whenever `tick_s` seconds are silent.

    `base` is scheme, host and port, `target` the path, with its query where it has one. After HEAD no body comes.
    Closing the generator closes the connection. Raises EngineFailure when the engine cannot be reached, hangs up
    before its answer is complete, or does not speak HTTP.
    """
    parts = urlsplit(base)
    try:
        with _connect(parts.hostname or "", parts.port, parts.scheme == "https") as connection:
            connection.sendall(_request(method, parts.netloc.rpartition("@")[2], target, body, headers))
            _end_reads_after(connection, tick_s)
            yield None
            for piece in _answer(connection):
                yield piece
                if method == "HEAD" and isinstance(piece, Head):
                    return
    except httptools.HttpParserError as error:
        raise EngineFailure(f"{base}: not HTTP: {error}") from error
    except httptools.HttpParserUpgrade as error:
        raise EngineFailure(f"{base}: it wants to speak something else than HTTP") from error
    except OSError as error:
        raise EngineFailure(f"{base}: {error}") from error


def _connect(host: str, port: int | None, tls: bool) -> socket.socket:
    connection = socket.create_connection((host, port or (443 if tls else 80)), timeout=CONNECT_TIMEOUT_S)
    connection.settimeout(_WRITE_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ssl.create_default_context().wrap_socket(connection, server_hostname=host) if tls else connection


def _end_reads_after(connection: socket.socket, seconds: float) -> None:
    """Have `recv` end after so much silence: with BlockingIOError, over TLS with TimeoutError."""
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(seconds)  # OpenSSL would only read on
        return
    connection.settimeout(None)  # blocking, as Python sees it
    # socket(7): a struct timeval, here that of 64-bit Linux.
    silence = struct.pack("@qq", int(seconds), int(seconds % 1 * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, silence)


def _request(method: str, host: str, target: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    fields = {"Host": host, "Connection": "close", **headers}
    if body or method not in ("GET", "HEAD"):
        # Always with Content-Length: koboldcpp does not understand chunked request bodies.
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise EngineFailure("the engine's address or key holds characters that cannot be sent")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _answer(connection: socket.socket) -> Generator[Head | bytes | None]:
    answer = _Answer()
    answer.parser = httptools.HttpResponseParser(answer)
    while not answer.complete:
        try:
            received = connection.recv(_READ_BYTES)
        except (BlockingIOError, TimeoutError):
            yield None
            continue
        answer.feed(received)
        yield from answer.take()


class _Answer:
    """What llhttp makes of the bytes, kept until it is taken."""

    parser: httptools.HttpResponseParser

    def __init__(self) -> None:
        self.complete = False
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._begun = False
        self._ready: list[Head | bytes] = []

    def feed(self, received: bytes) -> None:
        """Take the next bytes, none where the connection was closed. Raises EngineFailure, HttpParserError."""
        if not received:
            # Without a length the end of the connection is the end of the answer.
            self.complete = self._begun and not self._headers.keys() & {"content-length", "transfer-encoding"}
            if not self.complete:
                raise EngineFailure("the engine hung up before its answer was complete")
            return
        if not self._begun:
            self._head_bytes += len(received)
            if self._head_bytes > _LONGEST_HEAD:
                raise EngineFailure("the engine sent headers without end")
        try:
            self.parser.feed_data(received)
        except httptools.HttpParserError:
            if not self.complete:  # what comes behind a complete answer is not ours
                raise

    def take(self) -> list[Head | bytes]:
        """What has come since the last time."""
        ready, self._ready = self._ready, []
        return ready

    # --- llhttp's events --------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200:  # "100 Continue" and its kin: the answer itself follows
            self._headers.clear()
            return
        self._begun = True
        self._ready.append(Head(status, self._headers))

    def on_body(self, body: bytes) -> None:
        self._ready.append(body)

    def on_message_complete(self) -> None:
        self.complete = self._begun
