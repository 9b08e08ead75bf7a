"""A bad line: TCP between the browser and the proxy that breaks where a test says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

_CHUNK = 16_384
# What a stream of an answer begins with on its connection.
_STREAM_REQUESTS = (b"POST /api/v1/chat HTTP/", b"/regenerate HTTP/", b"/stream HTTP/")


class Relay:
    """Listens on a free loopback port and passes everything on to ``port``; a context manager.

    `cut_after` breaks all connections once that many bytes of an answer's stream have come through, `down` refuses
    new ones until `up`.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._socket.getsockname()[1])
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._left: int | None = None
        self._away_s = 0.0
        self._refuse_until = 0.0
        self.cuts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self.break_all()

    # --- what a test does to the line ---------------------------------------------------------------------------------

    def cut_after(self, count: int, *, away_s: float = 0.0) -> None:
        """Reset every connection when `count` more bytes of answers have passed; refuse new ones for `away_s`."""
        with self._lock:
            self._left, self._away_s = count, away_s

    def down(self) -> None:
        """Reset every connection and refuse new ones until `up`."""
        self._refuse_until = float("inf")
        self.break_all()

    def up(self) -> None:
        self._refuse_until = 0.0

    def mend(self) -> None:
        """Forget a cut that has not come."""
        with self._lock:
            self._left = None
        self.up()

    # --- inside -------------------------------------------------------------------------------------------------------

    def take(self, size: int) -> int:
        """How many of `size` bytes of an answer may pass; fewer = break here."""
        with self._lock:
            if self._left is None:
                return size
            passed = min(size, self._left)
            self._left -= passed
            if self._left > 0:
                return size
            self._left = None
            self.cuts += 1
            self._refuse_until = time.monotonic() + self._away_s
            return passed

    def _accept(self) -> None:
        while True:
            try:
                browser, _ = self._socket.accept()
            except OSError:
                return  # closed
            if time.monotonic() < self._refuse_until:
                _reset(browser)
                continue
            pair = _Pair(self, browser, socket.create_connection(self._target))
            with self._lock:
                self._pairs = [each for each in self._pairs if not each.closed]
                self._pairs.append(pair)
            pair.start()

    def break_all(self) -> None:
        """Reset every connection; new ones are taken."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.close()


class _Pair:
    """One connection of the browser and its other half."""

    def __init__(self, relay: Relay, browser: socket.socket, proxy: socket.socket) -> None:
        self._relay, self._browser, self._proxy = relay, browser, proxy
        for end in (browser, proxy):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._streams = False
        self.closed = False

    def start(self) -> None:
        threading.Thread(target=self._up, daemon=True).start()
        threading.Thread(target=self._down, daemon=True).start()

    def close(self) -> None:
        self.closed = True
        _reset(self._browser)
        _reset(self._proxy)

    def _up(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._browser.recv(_CHUNK):
                line = data.split(b"\r\n", 1)[0]
                if b" HTTP/1." in line:  # a request's first segment; a body's second one tells nothing new
                    self._streams = any(mark in line for mark in _STREAM_REQUESTS)
                self._proxy.sendall(data)
        self._end()

    def _down(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._proxy.recv(_CHUNK):
                passed = self._relay.take(len(data)) if self._streams else len(data)
                self._browser.sendall(data[:passed])
                if passed < len(data):
                    self._relay.break_all()
                    return
        self._end()

    def _end(self) -> None:
        # Either side has finished: both are told, so that the proxy notices a browser that left.
        if not self.closed:
            self.closed = True
            for end in (self._browser, self._proxy):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def _reset(end: socket.socket) -> None:
    """Close with RST, as a line that breaks does, instead of an orderly FIN."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Wakes the thread that reads; close alone would leave it waiting.
        end.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        end.close()
