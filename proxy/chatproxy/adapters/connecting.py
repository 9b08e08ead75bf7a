"""Connections of HTTP to IP addresses that were checked before, ended when their whole time is up."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from chatproxy.core.knowledge import FetchError
from chatproxy.core.urls import WebAddress


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to connect, between two bytes, and from the first packet to the last byte."""

    connect_s: float = 10.0
    read_s: float = 20.0
    total_s: float = 120.0


TIMEOUTS = Timeouts()


class Deadline:
    """Ends a connection when its whole time is up: other time-outs begin anew with every byte that drips in."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._seconds = seconds
        self._lock = threading.Lock()
        self._guarded: socket.socket | None = None
        self._timer: threading.Timer | None = None

    def guard(self, connection: socket.socket) -> None:
        """Take a second handle of a fresh connection: TLS takes the first one away."""
        with self._lock:
            self._guarded = connection.dup()
        self._timer = threading.Timer(max(0.0, self._ends - time.monotonic()), self._end)
        self._timer.daemon = True
        self._timer.start()

    def check(self) -> None:
        """Raises FetchError when the time is up."""
        if time.monotonic() >= self._ends:
            raise FetchError("fetch_failed", f"it took longer than {self._seconds:g} s")

    def __enter__(self) -> None:
        self.check()

    def __exit__(self, *_: object) -> None:
        if self._timer:
            self._timer.cancel()
        with self._lock:
            if self._guarded:
                self._guarded.close()
                self._guarded = None

    def _end(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._guarded:
                self._guarded.shutdown(socket.SHUT_RDWR)


class _Plain(HTTPConnection):
    """A connection that its deadline can end."""

    deadline: Deadline

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        self.deadline.guard(connection)
        return connection


class _Tls(HTTPSConnection):
    """The same over TLS, the handshake included."""

    deadline: Deadline

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        self.deadline.guard(connection)
        return connection


@contextlib.contextmanager
def connected(
    address: WebAddress, ips: Sequence[str], tls: ssl.SSLContext, timeouts: Timeouts, deadline: Deadline
) -> Iterator[HTTPConnection]:
    """A connection to the first of `ips` that can be reached; SNI and certificate go by the address's name.

    Raises FetchError when the time is up, OSError and urllib3's HTTPError where none can be reached.
    """
    for ip in ips:
        connection = _connection(address, ip, tls, timeouts, deadline)
        with deadline, contextlib.closing(connection):
            try:
                connection.connect()
            except (OSError, HTTPError):
                deadline.check()
                if ip == ips[-1]:
                    raise
                continue
            connection.timeout = timeouts.read_s  # urllib3 sets it on the socket with each request
            yield connection
            return


def _connection(
    address: WebAddress, ip: str, tls: ssl.SSLContext, timeouts: Timeouts, deadline: Deadline
) -> HTTPConnection:
    # urllib3 looks no literal address up.
    if address.scheme == "http":
        plain = _Plain(ip, address.port, timeout=timeouts.connect_s)
        plain.deadline = deadline
        return plain
    encrypted = _Tls(ip, address.port, timeout=timeouts.connect_s, ssl_context=tls, server_hostname=address.host)
    encrypted.deadline = deadline
    return encrypted
