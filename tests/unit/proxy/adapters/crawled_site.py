"""Websites on this machine for the crawler to read, and listeners that nothing may reach."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Path with query -> (status, headers, body), or a function of the request's headers that gives it.
Answer = tuple[int, Mapping[str, str], bytes]
Given = Answer | Callable[[Mapping[str, str]], Answer]
HTML = {"Content-Type": "text/html; charset=utf-8"}


def page(*links: str, head: str = "", headers: Mapping[str, str] = HTML) -> Answer:
    """An HTML page with these links."""
    anchors = "".join(f'<a href="{link}">x</a>' for link in links)
    return 200, headers, f"<!doctype html><html><head>{head}</head><body>{anchors}</body></html>".encode()


def redirect(target: str, status: int = 302) -> Answer:
    return status, {"Location": target}, b""


class Site:
    """Serves answers by path; `asked` holds the paths in the order in which they were asked for."""

    def __init__(self, answers: Mapping[str, Given] | None = None, *, address: str = "127.0.0.1") -> None:
        self.answers: dict[str, Given] = dict(answers or {})
        self.asked: list[str] = []
        self.heads: list[Mapping[str, str]] = []
        self._server = ThreadingHTTPServer((address, 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.authority = f"{address}:{self.port}"
        self.url = f"http://{self.authority}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def pages_asked(self) -> list[str]:
        """Without robots.txt and the guessed sitemap."""
        return [path for path in self.asked if path not in ("/robots.txt", "/sitemap.xml")]


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            site.heads.append({name.lower(): value for name, value in self.headers.items()})
            given: Given = site.answers.get(self.path, (404, {}, b""))
            status, headers, body = given(site.heads[-1]) if callable(given) else given
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


class Listener:
    """Waits on every address of this machine, IPv4 and IPv6, and counts who comes."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self._socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, client = self._socket.accept()
            except OSError:
                return
            self.connections.append(client)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")
            connection.close()
