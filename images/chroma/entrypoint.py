"""Chroma's server with a door in front: the server itself (1.x) knows no credentials, so it listens on loopback only,
and Caddy in the same container lets through what carries the token. Either one ending ends the container, and Docker
starts both again.

The server is started through the wheel's Rust binding directly: the `chroma` command would import the whole Python
client (onnxruntime, kubernetes, gRPC: 400 MB in the image) for one line.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import NoReturn

SERVER = "import sys, chromadb_rust_bindings; chromadb_rust_bindings.cli(['chroma', 'run', *sys.argv[1:]])"


# The steps of its database's schema that this Chroma knows. A database that is further it opens without a word, and may
# misread or damage; one that is behind it brings up to them.
SCHEMA = {"sysdb": 10, "metadb": 6, "embeddings_queue": 2}
_ANEW = (
    "go back to the version of this program that ran before; or have all vectors made anew from what MongoDB holds: "
    "`make down`, `docker volume rm` the volume whose name ends in chroma_data (`docker volume ls`), `make up`: the "
    "worker sees that they are gone and begins (`make sources REBUILD=1` does the same)"
)
# Its exit status where it meets such data, and seconds within which it does.
_PANIC, _FIRST_MOMENTS_S = 1, 60.0
# Bytes on the disk of the data: a server that met less than the first may have failed to write.
_FULL, _ROOM_AGAIN = 4 * 2**20, 16 * 2**20


class Disk:
    """Tells when a disk that was full has room again.

    After a write for which there was no room the server (1.5.9) keeps its database locked: it goes on answering
    questions, and refuses everything new with "database is locked" until it is started anew.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._was_full = folder, False

    def mended(self) -> bool:
        state = os.statvfs(self._folder)
        free = state.f_bavail * state.f_frsize
        self._was_full = self._was_full or free < _FULL
        return self._was_full and free >= _ROOM_AGAIN


def _fail(text: str) -> NoReturn:
    print(f"chroma: {text}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def _check_token() -> None:
    """An empty token file would let `Authorization: Bearer ` through."""
    path = os.environ.get("CHROMA_TOKEN_FILE", "")
    try:
        token = Path(path).read_text().strip()
    except OSError as error:
        _fail(f"CHROMA_TOKEN_FILE={path!r} cannot be read ({error.strerror}); it must belong to uid {os.getuid()}")
    if len(token) < 32 or not token.isascii() or any(c.isspace() for c in token):
        _fail(f"CHROMA_TOKEN_FILE={path!r} must hold one word of at least 32 ASCII characters")


def _check_data() -> None:
    """Data of a newer Chroma end the start. What cannot be read is left to the server, which says what it finds."""
    file = Path(os.environ.get("CHROMA_DATA", "/data")) / "chroma.sqlite3"
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(file, timeout=10)) as database:
            found = dict(database.execute("SELECT dir, max(version) FROM migrations GROUP BY dir"))
    except sqlite3.Error:
        return
    newer = {part: number for part, number in found.items() if number > SCHEMA.get(part, 0)}
    if newer:
        steps = ", ".join(f"{part} {number} instead of {SCHEMA.get(part, 0)}" for part, number in sorted(newer.items()))
        _fail(f"the data are of a newer Chroma (schema: {steps}): {_ANEW}")


def _start() -> list["subprocess.Popen[bytes]"]:
    inner = os.environ.get("CHROMA_INNER_PORT", "8001")
    data = os.environ.get("CHROMA_DATA", "/data")
    caddyfile = Path(__file__).with_name("Caddyfile")
    return [
        subprocess.Popen([sys.executable, "-c", SERVER, "--host", "127.0.0.1", "--port", inner, "--path", data]),
        subprocess.Popen(
            [os.environ.get("CADDY", "caddy"), "run", "--config", str(caddyfile), "--adapter", "caddyfile"]
        ),
    ]


def _watch(children: "list[subprocess.Popen[bytes]]", disk: Disk) -> str:
    """Until something ends, or has to; returns why, in words for the operator."""
    begun = time.monotonic()
    while all(child.poll() is None for child in children):
        time.sleep(0.2)
        if disk.mended():
            return "the disk was full and has room again: the server is started anew, else it would take nothing in"
    ended = next(child for child in children if child.poll() is not None)
    if ended is children[0] and ended.returncode == _PANIC and time.monotonic() - begun < _FIRST_MOMENTS_S:
        return f"Chroma could not start; where its own lines above name a MigrationError, its data do not fit: {_ANEW}"
    return f"{Path(str(ended.args[0])).name} ended with code {ended.returncode}"  # type: ignore[index]


def main() -> None:
    _check_token()
    os.environ.setdefault("CHROMA_INNER_PORT", "8001")
    os.environ.setdefault("CHROMA_LISTEN", ":8000")
    # In a container that is its internal network; natively it is set to loopback.
    os.environ.setdefault("CHROMA_BIND", "0.0.0.0")  # noqa: S104 - internal network
    # Chroma reports usage to its maker unless told not to; nothing leaves this machine.
    os.environ["ANONYMIZED_TELEMETRY"] = "False"
    _check_data()
    children = _start()

    def stop(_signal: int, _frame: object) -> None:
        raise SystemExit(0)

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    try:
        why = _watch(children, Disk(os.environ.get("CHROMA_DATA", "/data")))
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()
    # The log's last line, after all that the others say at their end.
    _fail(why)


if __name__ == "__main__":
    main()
