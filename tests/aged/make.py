"""Makes the aged volumes anew: `.venv/bin/python tests/aged/make.py [COMMIT...]`, a minute each.

Each commit's own code runs natively, out of a git worktree that goes away again, with this checkout's virtual
environment and model. What is done with it stands in using.py. The commits, each the last of a stage:

    780f2a4    schema 1: one route to chat, keys. Stopped as Docker stops it.
    5483701    schema 3: visitors and site keys, edited and repeated answers, feedback. Killed in an answer's middle.
    b2862b1    schema 9, the last one before mongod became a replica set: knowledge (two files, a website that is
               read again each year), word index, the console's admins. Killed in the middle of an answer.

Every password in there is made for this data alone and opens nothing else.
"""

from __future__ import annotations

import http.server
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
# How far the program was, and how it ended.
COMMITS = {"780f2a4": (1, "stopped"), "5483701": (2, "killed"), "b2862b1": (3, "killed")}
PAGE = b"""<!doctype html><html lang="en"><head><title>The mail boat</title><link rel="icon" href="data:,"></head><body>
<main><h1>The mail boat</h1><p>The mail boat leaves the harbour at six in the morning and comes back at dusk, unless the
storm cone is up. It carries parcels of at most thirty pounds.</p></main></body></html>"""
# mongod makes them ahead, full of zeros, and lives without them.
_PREPARED = "WiredTigerPreplog"


def make(commit: str) -> None:
    """One archive and what belongs to it."""
    stage, ended = COMMITS[commit]
    with tempfile.TemporaryDirectory(prefix="aged-") as name:
        tree, data = Path(name, "tree"), Path(name, "data")
        data.mkdir()
        _git("worktree", "add", "--detach", str(tree), commit)
        site = _site()
        try:
            for model in (ROOT / "models").glob("*.gguf"):
                (tree / "models" / model.name).symlink_to(model)
            _answer_briefly(tree / "compose" / "bots")
            words = [sys.executable, str(HERE / "using.py"), str(data), str(stage), ended]
            words.append(f"http://127.0.0.1:{site.server_port}/")
            subprocess.run(words, env={**os.environ, "PYTHONPATH": str(tree)}, check=True)
            env = (
                (tree / ".env.example").read_text(encoding="utf-8").replace("\nSOURCES=auto\n", "\nSOURCES=packages\n")
            )
        finally:
            site.shutdown()
            _git("worktree", "remove", "--force", str(tree))
        told = {"commit": _git("rev-parse", commit), **json.loads((data / "told.json").read_text(encoding="utf-8"))}
        written = json.dumps(told, indent=1, ensure_ascii=False, sort_keys=True)
        (HERE / f"{commit}.json").write_text(f"{written}\n", encoding="utf-8")
        _pack(data, env, HERE / f"{commit}.tar.xz")
        print(f"{commit}: {(HERE / f'{commit}.tar.xz').stat().st_size} bytes")


def _answer_briefly(bots: Path) -> None:
    """It is the history that counts, not the answers."""
    for file in bots.glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r"(?m)^max_tokens: .*", "max_tokens: 24", text), encoding="utf-8")


def _site() -> http.server.ThreadingHTTPServer:
    """A website of one page, for as long as it is asked."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path == "/"
            self.send_response(200 if there else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(PAGE if there else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _pack(data: Path, env: str, archive: Path) -> None:
    """The volumes and what belongs to them; the same bytes for the same content."""
    with tarfile.open(archive, "w:xz", preset=9, format=tarfile.GNU_FORMAT) as tar:
        for folder in ("mongo", "chroma", "words", "secrets"):
            if (data / folder).is_dir():
                tar.add(data / folder, folder, filter=_taken)
        for name, text in (("env", env), ("let-in.json", (data / "let-in.json").read_text(encoding="utf-8"))):
            content = text.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, io.BytesIO(content))


def _taken(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if _PREPARED in member.name or not (member.isfile() or member.isdir()):
        return None
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    for commit in sys.argv[1:] or COMMITS:
        make(commit)
