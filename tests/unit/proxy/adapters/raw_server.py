"""A server that answers with exactly the bytes a test gives it, on a real socket."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

# What to send for one path, in order: bytes, or seconds to stay silent. The connection closes at the end.
Script = Sequence[bytes | float]


def answer(body: bytes, *, status: str = "200 OK", kind: str = "application/json") -> Script:
    """A whole HTTP/1.1 answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return [head.encode() + body]


def chunked(*pieces: bytes | float) -> Script:
    """An event stream in HTTP/1.1 chunks, one for each piece."""
    framed = [p if isinstance(p, float) else f"{len(p):x}\r\n".encode() + p + b"\r\n" for p in pieces]
    return [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *framed, b"0\r\n\r\n"]


class RawServer:
    """Serves scripts by path; `requests` holds (path, decoded JSON body), `left` is set when a client hung up."""

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.scripts = dict(scripts)
        self.requests: list[tuple[str, Any]] = []
        self.heads: list[str] = []
        self.left = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def bodies(self, path: str) -> list[Any]:
        return [body for asked, body in self.requests if asked == path]

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            path = self._read_request(connection)
            for part in self.scripts.get(path, answer(b"{}", status="404 Not Found")):
                if isinstance(part, float):
                    time.sleep(part)
                else:
                    connection.sendall(part)
                if self._hung_up(connection):
                    self.left.set()
                    return

    def _read_request(self, connection: socket.socket) -> str:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
        path = head.split(b" ")[1].decode()
        self.heads.append(head.decode())
        self.requests.append((path, json.loads(body) if body else None))
        return path

    @staticmethod
    def _hung_up(connection: socket.socket) -> bool:
        try:
            return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
