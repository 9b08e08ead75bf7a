"""Two public chat widgets beside ours: their published bundles from npm, pinned and checked, served from loopback.

Both are shown as their own READMEs embed them, without their servers: what they would ask those for is answered
at once with an empty object, which does not make them slower.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which


class NotThere(Exception):
    """The text says why the packages cannot be had."""


@dataclass(frozen=True)
class Other:
    """A package, its tarball's SHA-512 as npm gives it, the page's head, and JavaScript that finds its parts."""

    package: str
    version: str
    sha512: str
    head: str
    launcher: str
    field: str

    @property
    def name(self) -> str:
        return f"{self.package} {self.version}"

    @property
    def folder(self) -> str:
        return self.package.strip("@").replace("/", "-")


OTHERS = (
    Other(
        "@n8n/chat",
        "1.37.0",
        "V1EQxDp/+rW6o/5OZgbwDfgPJXG8Jrn3TIdq7Z/26QTP90Uo3g2gv8CMnaQcphdTQVR+K06X34DOCRHXa8Tqnw==",
        '<link rel="stylesheet" href="n8n-chat/package/dist/style.css"><script type="module">'
        "import { createChat } from './n8n-chat/package/dist/chat.bundle.es.js';"
        "createChat({ webhookUrl: location.origin + '/answer', loadPreviousSession: false });</script>",
        "document.querySelector('.chat-window-toggle')",
        "document.querySelector('.chat-window textarea')",
    ),
    Other(
        "flowise-embed",
        "3.1.6",
        "xSrvBDiEvIIzRFsPBgmzG3SdfBeG4wBzdchdMurft5PQcdYO0HfB8cwGhn00fE5JOsdhVZXfJ3Fq6e/DgrW4ag==",
        "<script type=\"module\">import Chatbot from './flowise-embed/package/dist/web.js';"
        "Chatbot.init({ chatflowid: '91e9c803-5169-4db9-8207-3c0915d71c5f', apiHost: location.origin });</script>",
        "document.querySelector('flowise-chatbot')?.shadowRoot?.querySelector('button')",
        "document.querySelector('flowise-chatbot')?.shadowRoot?.querySelector('textarea')",
    ),
)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server with one page for each of OTHERS, named after its folder. Raises NotThere."""
    for other in OTHERS:
        _fetch(other, folder)
        page = f'<!doctype html><meta charset="utf-8"><title>A page</title><link rel="icon" href="data:,">{other.head}'
        (folder / f"{other.folder}.html").write_text(page)

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(folder))  # type: ignore[arg-type]

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._empty()

        def do_GET(self) -> None:
            if Path(self.translate_path(self.path)).is_file():
                super().do_GET()
            else:
                self._empty()

        def _empty(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _fetch(other: Other, folder: Path) -> None:
    if not which("npm"):
        raise NotThere("npm is not installed")
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), f"{other.package}@{other.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    tarball = folder / f"{other.folder}-{other.version}.tgz"
    if done.returncode != 0 or not tarball.exists():
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotThere(f"npm cannot fetch {other.name}: {last}")
    if base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode() != other.sha512:
        raise NotThere(f"{other.name} is not the pinned one")
    with tarfile.open(tarball) as archive:
        archive.extractall(folder / other.folder, filter="data")
