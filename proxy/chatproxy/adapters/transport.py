"""A streaming POST that can be left at any moment, over HTTP/1.0 and 1.1, plain or TLS.

Ordinary calls go through `requests` (adapters/calls.py). A generation cannot: while an engine reads a prompt it sends
nothing, not even headers, for minutes, and a thread blocked in a library's read can neither ping its client nor notice
that the client has left. Here the socket is polled and each moment of silence is handed to the caller.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from chatproxy.errors import EngineFailure

CONNECT_TIMEOUT_S = 5.0
# One write or one TLS record may not take longer than this; waiting for the engine is not limited here.
_SOCKET_TIMEOUT_S = 30.0
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers (names in lower case) of the answer; comes before any body."""

    status: int
    headers: Mapping[str, str]


def post(url: str, body: bytes, headers: Mapping[str, str], *, tick_s: float) -> Generator[Head | bytes | None]:
    """Yield Head, then pieces of the body; None whenever `tick_s` seconds passed without a byte.

    Closing the generator closes the connection. Raises EngineFailure when the engine cannot be reached, hangs up
    before its answer is complete, or does not speak HTTP.
    """
    parts = urlsplit(url)
    try:
        with _connect(parts.hostname or "", parts.port, parts.scheme == "https") as connection:
            protocol = h11.Connection(h11.CLIENT)
            connection.sendall(_request(protocol, parts.netloc.rpartition("@")[2], parts.path, body, headers))
            yield from _answer(protocol, connection, tick_s)
    except h11.RemoteProtocolError as error:
        raise EngineFailure(f"{url}: not a complete HTTP answer: {error}") from error
    except OSError as error:
        raise EngineFailure(f"{url}: {error}") from error


def _connect(host: str, port: int | None, tls: bool) -> socket.socket:
    connection = socket.create_connection((host, port or (443 if tls else 80)), timeout=CONNECT_TIMEOUT_S)
    connection.settimeout(_SOCKET_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ssl.create_default_context().wrap_socket(connection, server_hostname=host) if tls else connection


def _request(protocol: h11.Connection, host: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    # Always with Content-Length: koboldcpp does not understand chunked request bodies.
    fields = [
        ("Host", host),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        *headers.items(),
    ]
    events = [h11.Request(method="POST", target=path or "/", headers=fields), h11.Data(body), h11.EndOfMessage()]
    return b"".join(protocol.send(event) or b"" for event in events)


def _answer(protocol: h11.Connection, connection: socket.socket, tick_s: float) -> Generator[Head | bytes | None]:
    readable = select.poll()
    readable.register(connection, select.POLLIN)
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            if not _pending(connection) and not readable.poll(tick_s * 1000):
                yield None
                continue
            protocol.receive_data(connection.recv(_READ_BYTES))
        elif isinstance(event, h11.Response):
            yield Head(event.status_code, {name.decode(): value.decode("latin-1") for name, value in event.headers})
        elif isinstance(event, h11.Data):
            yield bytes(event.data)
        elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            return


def _pending(connection: socket.socket) -> bool:
    """Whether TLS holds decrypted bytes that poll cannot see."""
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
