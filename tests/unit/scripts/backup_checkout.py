"""A copy of the commands with everything that they find on a machine, and a `docker` that plays the appliance.

The real scripts/backup runs in it, as a process of its own that can be killed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = b"\x16\x00\x00\x00\x02a\x00\x02\x00\x00\x00b\x00"

# Answers as Docker does, from the files beside it.
_DOCKER = """#!{python}
import json, os, pathlib, shutil, subprocess, sys, time
here, words = pathlib.Path(__file__).parent, sys.argv[1:]
plan = json.loads((here / "plan.json").read_text())
line = " ".join(words)
with (here / "calls").open("a") as calls:
    calls.write(line + "\\n")
if words[0] == "info":
    print(json.dumps({{"ServerVersion": "26"}}))
elif " ps " in line:
    for service, state in plan["services"].items():
        print(json.dumps({{"ID": service, "Service": service, "Name": service, "State": state, "Health": "healthy"}}))
elif " config " in line:
    volumes = {{"caddy_data": {{"name": "v_caddy"}}}}
    print(json.dumps({{"volumes": volumes, "services": {{"caddy": {{"image": "caddy"}}}}}}))
elif words[:2] == ["volume", "inspect"]:
    sys.exit(plan.get("volume", 0))
elif words[0] == "run":
    os.chdir(here / "caddy")
    at = words.index("caddy") + 1
    sys.exit(subprocess.call(["tar", *[str(here / "caddy") if w == "/from" else w for w in words[at:]]]))
elif "data dump" in line:
    out = os.fdopen(1, "wb", buffering=0)
    content = (here / "dump.tar").read_bytes()
    content = content[: plan.get("cut", len(content))]
    step = max(1, len(content) // max(1, plan.get("steps", 1)))
    for at in range(0, len(content), step):
        out.write(content[at : at + step])
        time.sleep(plan.get("pause", 0))
    sys.stderr.write(plan.get("dump_says", ""))
    sys.exit(plan.get("dump_status", 0))
elif "data done" in line:
    sys.stderr.write(plan.get("done_says", ""))
    sys.exit(plan.get("done_status", 0))
elif " du " in line:
    print(plan.get("du", "100") + " /data")
else:
    sys.exit("unknown: " + line)
"""


def dump(collections: dict[str, bytes], *, parts: int = 1, documents: int = 1) -> bytes:
    """What the worker sends: members in parts, and data.json at the end."""
    out = io.BytesIO()
    told = {
        name: {"documents": documents, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        for name, raw in collections.items()
    }
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, content: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

        for name, raw in collections.items():
            add(f"mongo/{name}.metadata.json.gz", gzip.compress(b"{}", mtime=0))
            packed = gzip.compress(raw, mtime=0)
            step = len(packed) // parts + 1
            for number in range(parts):
                piece = packed[number * step : (number + 1) * step]
                add(f"mongo/{name}.bson.gz" + (f".part{number:04d}" if parts > 1 else ""), piece)
        add("data.json", json.dumps({"schema": 9, "collections": told, "vectors": {}, "probes": []}).encode())
    return out.getvalue()


class Checkout:
    """One appliance on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archives = folder / ".appliance" / "backups"
        self._docker = folder / "bin"
        shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("proxy", "images"):
            (folder / name).symlink_to(ROOT / name)
        for name in ("models", "compose/bots", "compose/formats", "bin/caddy/caddy/pki", "bin/caddy/caddy/locks"):
            (folder / name).mkdir(parents=True)
        for name in ("secrets", "stamps", "wireguard/peers", "logs"):
            (folder / ".appliance" / name).mkdir(parents=True)
        self.put(
            ".appliance/resolved.env", "COMPOSE_PROJECT_NAME=chatbot\nMODEL_FILE=a.gguf\nSOURCES_RESOLVED=packages\n"
        )
        self.put(".appliance/secrets/mongo_password", "secret", 0o600)
        self.put(".appliance/stamps/sources", "packages")
        self.put(".appliance/wireguard/peers/laptop.conf", "[Interface]")
        self.put("compose/bots/mine.yaml", "name: Mine")
        self.put("models/a.gguf", "weights")
        self.put("bin/caddy/caddy/pki/root.crt", "certificate")
        self.put("bin/caddy/caddy/locks/one.lock", "held")
        self.put("bin/docker", _DOCKER.format(python=sys.executable), 0o755)
        self.settings()
        self.plan()
        self.data(dump({"messages": DOCUMENT * 100, "keys": DOCUMENT}, parts=3))

    def put(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def settings(self, **values: str) -> None:
        self.put(".env", "".join(f"{name}='{value}'\n" for name, value in {"DOMAIN": "localhost", **values}.items()))

    def plan(self, **changes: Any) -> None:
        """How the appliance behaves."""
        services = dict.fromkeys(("mongo", "chroma", "embeddings", "worker", "proxy", "caddy"), "running")
        (self._docker / "plan.json").write_text(json.dumps({"services": services, **changes}))

    def data(self, content: bytes) -> None:
        (self._docker / "dump.tar").write_bytes(content)

    def calls(self) -> list[str]:
        """What docker was asked."""
        return (self._docker / "calls").read_text().splitlines()

    def start(self, command: str = "backup", **environment: str) -> subprocess.Popen[str]:
        path = f"{self._docker}:{os.environ['PATH']}"
        return subprocess.Popen(
            [sys.executable, str(self.folder / "scripts" / command)],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "CI": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell without job control starts what it does not wait for with this one ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, command: str = "backup", **environment: str) -> tuple[int, str, str]:
        """(exit status, stdout, stderr)"""
        with self.start(command, **environment) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def fails(self, finding: str, **environment: str) -> str:
        """A backup fails with this finding, says what to do, and leaves nothing but what was there; returns stderr."""
        before = self._there()
        status, out, err = self.run(**environment)
        assert (status, out) == (1, ""), err
        assert re.search(rf"error {re.escape(finding)}: .+\n  -> .+", err), err
        assert self._there() == before and self.drafts() == []
        return err

    def _there(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.archives.glob("*")} if self.archives.is_dir() else {}

    def names(self) -> list[str]:
        """The archives that there are."""
        return sorted(path.name for path in self.archives.glob("chatbot-*.tar*")) if self.archives.is_dir() else []

    def drafts(self) -> list[str]:
        return sorted(path.name for path in self.archives.glob(".*.part"))

    def attempt(self) -> dict[str, Any]:
        """How the last run went, as it was written down."""
        return dict(json.loads((self.folder / ".appliance" / "backup.json").read_text()))

    def older(self, name: str, content: bytes = b"an archive of before") -> Path:
        self.archives.mkdir(parents=True, exist_ok=True)
        path = self.archives / name
        path.write_bytes(content)
        return path
