"""Somebody's homepage: pages of another origin that carry the embed line, under the conditions a test chooses."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What other people's style sheets do to a page, and more: all of it tries to reach into the widget.
HOSTILE_STYLE = """
body * { all: unset !important; display: none !important; }
html { font-size: 60px !important; line-height: 5 !important; letter-spacing: 1em !important; word-spacing: 3em; }
body { text-transform: uppercase !important; font: 60px fantasy !important; direction: rtl; cursor: none !important;
       text-align: right !important; visibility: hidden !important; white-space: pre !important; color: red; }
button, textarea, a, div, section, form, ul, li, p, select, input, chat-widget {
  display: none !important; position: fixed !important; left: -9999px !important; background: red !important;
  color: red !important; font-size: 90px !important; border: 9px solid red !important; opacity: 0 !important;
  width: 1px !important; height: 1px !important; overflow: hidden !important; pointer-events: none !important; }
.panel, .log, .launcher, .message, .composer, .menu, .history { display: none !important; z-index: -1 !important; }
"""


@dataclass(frozen=True)
class HostPage:
    """One page. `embed` goes before </body> as it is; `csp` is sent as a header; `style` stands in the head."""

    embed: str
    csp: str = ""
    style: str = ""
    language: str = "en"
    direction: str = "ltr"
    body: str = "<main><h1>A shop</h1><p>Lamps, and what belongs to them.</p><a href='#top' id='own'>Up</a></main>"
    head: str = ""

    def html(self) -> str:
        style = f"<style>{self.style}</style>" if self.style else ""
        return (
            f'<!doctype html><html lang="{self.language}" dir="{self.direction}"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>A shop</title>'
            f'<link rel="icon" href="data:,">{style}{self.head}</head><body>{self.body}{self.embed}</body></html>'
        )


def embed_line(server: str, **attributes: str) -> str:
    """The line that a site's owner pastes; `bot="x"` becomes data-bot."""
    return _script(server, "async", attributes)


def _script(server: str, how: str, attributes: Mapping[str, str]) -> str:
    given = "".join(f' data-{name.replace("_", "-")}="{escape(value)}"' for name, value in attributes.items())
    return f'<script src="{server}/widget.js"{given} {how}></script>'


@dataclass
class HostSite:
    """The running server: every host name under .localhost leads to it, each one an origin of its own."""

    port: int
    pages: dict[str, HostPage] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def origin(self, name: str = "shop") -> str:
        return f"http://{name}.localhost:{self.port}"

    def serve(self, page: HostPage, name: str = "shop") -> str:
        """The page's address; it stays until the run ends."""
        path = f"/{next(self._numbers)}"
        self.pages[path] = page
        return self.origin(name) + path


@contextmanager
def running_site() -> Iterator[HostSite]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            site.asked.append(self.path)
            page = site.pages.get(path)
            body = page.html().encode() if page else b"no such page"
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            if page and page.csp:
                self.send_header("Content-Security-Policy", page.csp)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site = HostSite(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
