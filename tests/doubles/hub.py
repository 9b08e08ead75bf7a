"""The model hub's routes that its library calls, over real HTTP, and a storage behind it that a link leads to.

    GET  /api/models/REPO/revision/REV          the commit of a branch
    GET  /api/models/REPO/tree/REV?recursive    all files, with their checksums
    POST /api/models/REPO/paths-info/REV        some files
    GET  /REPO/resolve/REV/PATH                 302 to the storage for large files, the bytes of small ones
    GET  /storage/SHA256?signature=...          the bytes, by range; whoever sends a token along is refused, as S3 does

Large files have a SHA-256, small ones git's id only. Refusals carry X-Error-Code, as the hub's own do.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

COMMIT = "5fa34190089f0ee40f9cce3cbc396b1b2e5e5b1a"
_LARGE = 4096  # bytes; from here on a file is kept in the storage


@dataclass
class HubDouble:
    """A hub with one repository. What it does is changed while it runs.

    cuts      lengths after which the storage drops its next answers' connections
    lies      bytes that the storage gives instead, by path
    gone      paths (or the repository's name) that are not there any more
    broken    how many of the next calls of the API fail with 503
    """

    files: dict[str, bytes]
    repository: str = "maker/model"
    url: str = ""
    token: str = ""
    cuts: list[int] = field(default_factory=list)
    lies: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    broken: int = 0
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    # Set for each chunk that is sent; it waits before sending when `slow` is not set.
    flowing: threading.Event = field(default_factory=threading.Event)
    sent: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.flowing.set()

    def entry(self, path: str) -> dict[str, object]:
        """A file as the API tells it."""
        content = self.files[path]
        told: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": blob_of(content)}
        if len(content) >= _LARGE:
            told["lfs"] = {"oid": sha256_of(content), "size": len(content), "pointerSize": 134}
        return told


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blob_of(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _handler(hub: HubDouble) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            hub.asked.append(path)
            api = f"/api/models/{hub.repository}"
            if path.startswith("/storage/"):
                self._storage(path.removeprefix("/storage/"))
            elif self._refused():
                return
            elif path in (api, f"{api}/revision/main"):
                self._json({"id": hub.repository, "sha": COMMIT, "siblings": []})
            elif path == f"{api}/tree/{COMMIT}":
                folders = {path.rpartition("/")[0] for path in hub.files} - {""}
                listed = [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in folders]
                self._json([*listed, *(hub.entry(name) for name in hub.files)])
            elif path.startswith(f"/{hub.repository}/resolve/{COMMIT}/"):
                self._resolve(path.removeprefix(f"/{hub.repository}/resolve/{COMMIT}/"))
            else:
                self._error(404, "RepoNotFound")

        def do_POST(self) -> None:
            path = urllib.parse.urlsplit(self.path).path
            hub.asked.append(path)
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if self._refused():
                return
            if path != f"/api/models/{hub.repository}/paths-info/{COMMIT}":
                self._error(404, "RevisionNotFound")
                return
            there = [name for name in form["paths"] if name in hub.files and name not in hub.gone]
            self._json([hub.entry(name) for name in there])

        def _refused(self) -> bool:
            if hub.broken:
                hub.broken -= 1
                self._error(503, "")
            elif hub.repository in hub.gone:
                self._error(404, "RepoNotFound")
            elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._error(401 if "Authorization" not in self.headers else 403, "GatedRepo")
            else:
                return False
            return True

        def _resolve(self, name: str) -> None:
            if name in hub.gone or name not in hub.files:
                self._error(404, "EntryNotFound")
                return
            content = hub.files[name]
            if len(content) < _LARGE:
                self._body(hub.lies.get(name, content), ETag=f'"{blob_of(content)}"', X_Repo_Commit=COMMIT)
                return
            # By another name, as the storage is another host.
            home = hub.url.replace("127.0.0.1", "localhost")
            self.send_response(302)
            self.send_header("Location", f"{home}/storage/{sha256_of(content)}?signature=x")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{sha256_of(content)}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _storage(self, digest: str) -> None:
            if "Authorization" in self.headers:
                self._error(400, "")
                return
            name = next(name for name, content in hub.files.items() if sha256_of(content) == digest)
            self._body(hub.lies.get(name, hub.files[name]))

        def _body(self, content: bytes, **headers: str) -> None:
            wanted = self.headers.get("Range", "")
            hub.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if start and start >= len(content):
                self._error(416, "")
                return
            rest = content[start:]
            self.send_response(206 if start else 200)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            cut = hub.cuts.pop(0) if hub.cuts else None
            for place in range(0, len(rest[:cut]), 8192):
                hub.flowing.wait(30)
                self.wfile.write(rest[:cut][place : place + 8192])
                hub.sent.set()
            self.close_connection = cut is not None

        def _json(self, told: object) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _error(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed are what is tried here."""


@contextmanager
def running(hub: HubDouble) -> Iterator[HubDouble]:
    """The hub answers at `hub.url` within this block."""
    with _Server(("127.0.0.1", 0), _handler(hub)) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.flowing.set()
            server.shutdown()
            thread.join()
