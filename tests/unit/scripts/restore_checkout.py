"""What the tests of restores share: a checkout in which nothing is set up, archives, and a Docker of volumes alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scripts.lib import (
    archive,
    backup_schedule,
    compose,
    docker_daemon,
    generations,
    image_tags,
    paths,
    resolve,
    restoring,
    secret_files,
    settings,
    stopping,
    switch,
    takeover,
    upgrading,
    waiting,
)
from scripts.lib.archive import Archive, ArchiveWriter, Manifest

IMAGES = {"chatbot-proxy:local": ("old inputs", "sha256:old")}
MADE = datetime(2026, 11, 22, 8, 15, tzinfo=timezone.utc)
DATA = {
    "collections": {
        "conversations": {"documents": 2, "bytes": 100},
        "messages": {"documents": 4, "bytes": 400},
        "chunks": {"documents": 7, "bytes": 700},
    }
}
SETTINGS = {
    ".env": "DOMAIN=chat.example.org\n",
    **{f"secrets/{name}": f"{name}-of-the-archive" for name in secret_files.NAMES},
    "wireguard/server.json": "{}",
    "compose/bots/assistant.yaml": "name: A\n",
    "compose/bots/harbour.yaml": "name: H\n",
    "compose/formats/mine.toml": "",
    "stamps/sources": "packages",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own, in which nothing is set up."""
    root = tmp_path / "checkout"
    (root / ".appliance").mkdir(parents=True)
    places = {".env": root / ".env", "secrets": root / ".appliance/secrets", "wireguard": root / ".appliance/wireguard"}
    places |= {name: root / name for name in ("compose/bots", "compose/formats")}
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setattr(paths, "RESOLVED_ENV", root / ".appliance/resolved.env")
    monkeypatch.setattr(paths, "STATE", root / ".appliance")
    monkeypatch.setattr(paths, "STAMPS", root / ".appliance/stamps")
    monkeypatch.setattr(restoring, "PLACES", places)
    for name in ("BEFORE", "REPLACED", "_GIVEN_UP", "STAGE", "CHECK"):
        monkeypatch.setattr(restoring, name, root / ".appliance" / getattr(restoring, name).name)
    for laid_out in (restoring.stage, restoring.discard):
        monkeypatch.setattr(laid_out, "__defaults__", (restoring.STAGE,))
    monkeypatch.setattr(generations, "FILE", root / ".appliance/generation")
    for function in (takeover.take, takeover.back):
        monkeypatch.setattr(function, "__defaults__", (root / ".appliance/takeover.json",))
    monkeypatch.setattr(secret_files, "UID", 0)
    return root


def archived(folder: Path, settings: dict[str, str], data: dict[str, Any] | None = None) -> Archive:
    path = folder / "chatbot-20261122T081500Z.tar"
    with path.open("wb") as file:
        writer = ArchiveWriter(file, MADE)
        writer.add_bytes("data/data.json", json.dumps(DATA if data is None else data).encode())
        for name, text in settings.items():
            writer.add_bytes(f"settings/{name}", text.encode())
        writer.finish(Manifest("chatbot", MADE, "1"))
    return archive.verify(path)


@dataclass
class Docker:
    """Volumes by name; what else it is asked for, it answers with nothing. `answers` off: it was stopped."""

    volumes: set[str] = field(default_factory=set)
    answers: bool = True

    def add(self, data: str) -> None:
        self.volumes |= {f"{data}_{name}" for name in generations.VOLUMES}

    def ask(self, *words: str, timeout: float = 60) -> tuple[int, str, str]:
        if not self.answers:
            return 1, "", "Cannot connect to the Docker daemon"
        if words[:2] == ("volume", "ls") and "--filter" not in words:
            return 0, "\n".join(sorted(self.volumes)), ""
        if words[:2] == ("volume", "rm"):
            self.volumes -= set(words[3:])
        return 0, "", ""


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Docker:
    """Docker, with no volumes yet."""
    fake = Docker()
    monkeypatch.setattr(docker_daemon, "ask", fake.ask)
    return fake


@pytest.fixture
def restore(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/restore in a checkout of its own; `did` tells what it had done with containers and images."""
    loader = SourceFileLoader("restore", str(Path(__file__).resolve().parents[3] / "scripts" / "restore"))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    did = root / "did"
    did.touch()

    def note(what: str) -> Callable[..., None]:
        def act(*_: object, **__: object) -> None:
            # Into a file: the way back is gone by another process.
            with did.open("a") as file:
                file.write(f"{what}\n")

        return act

    def put_back(images: image_tags.Tags) -> int:
        note(f"images {sorted(image for _, image in images.values())}")()
        return len(images)

    monkeypatch.setattr(paths, "ENV_FILE", root / ".env")
    monkeypatch.setattr(paths, "LOGS", root / ".appliance" / "logs")
    monkeypatch.setattr(resolve.earlier, "__defaults__", (paths.RESOLVED_ENV,))
    monkeypatch.setattr(settings.load, "__defaults__", (root / ".env", {}))
    monkeypatch.setattr(switch, "_BEFORE", root / ".appliance" / "before-model.env")
    monkeypatch.setattr(compose, "current", lambda: None)
    monkeypatch.setattr(stopping, "stop", note("stop"))
    monkeypatch.setattr(upgrading, "end_containers", note("end containers"))
    monkeypatch.setattr(waiting, "start", note("start"))
    monkeypatch.setattr(waiting, "until_ready", note("ready"))
    monkeypatch.setattr(image_tags, "remember", lambda: IMAGES)
    monkeypatch.setattr(image_tags, "put_back", put_back)
    module.keep_up = backup_schedule.keep_up  # type: ignore[attr-defined]
    monkeypatch.setattr(backup_schedule, "keep_up", note("schedule"))
    module.did = lambda: did.read_text().split("\n")[:-1]  # type: ignore[attr-defined]
    return module
