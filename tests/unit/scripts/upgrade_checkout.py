"""What the tests of upgrades share: a home with versions, and a checkout of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.lib import docker_daemon, generations, image_tags, paths, shell, upgrade_beside, upgrading
from scripts.lib.failure import Failure
from scripts.lib.upgrade_git import Repository
from scripts.lib.upgrading import EXCHANGED, STOPPED, Journal

WHO = ("-c", "user.name=Home", "-c", "user.email=home@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *WHO, "-C", str(folder), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path, title: str, files: Mapping[str, str]) -> str:
    """A commit in which these files have these texts; its id."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "--force", "--", *files)
    git(folder, "commit", "--quiet", "--allow-empty", f"--message={title}")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    git(home, "init", "--quiet", "--initial-branch=main")
    commit(home, "First", {"a.txt": "a\n", "sub/b.txt": "b\n", ".gitignore": "/.appliance/\n/.env\n/models/*\n"})
    return home


@pytest.fixture
def checkout(tmp_path: Path, home: Path) -> Path:
    git(tmp_path, "clone", "--quiet", str(home), str(tmp_path / "checkout"))
    return tmp_path / "checkout"


@dataclass
class Docker:
    """Containers, networks and volumes by name, and which image each tag is."""

    containers: set[str] = field(default_factory=lambda: {"c1", "c2"})
    networks: set[str] = field(default_factory=lambda: {"n1"})
    volumes: set[str] = field(default_factory=set)
    stuck: bool = False

    def ask(self, *words: str, timeout: float = 60) -> tuple[int, str, str]:
        if words[0] in ("container", "network") and words[1] == "ls":
            assert "label=com.docker.compose.project=chatbot" in words
            return 0, "\n".join(self.containers if words[0] == "container" else self.networks), ""
        if words[:2] == ("rm", "--force") and not self.stuck:
            self.containers -= set(words[2:])
        if words[:2] == ("network", "rm"):
            assert not self.containers
            self.networks -= set(words[2:])
        if words[:2] == ("volume", "ls"):
            return 0, "\n".join(self.volumes), ""
        if words[:2] == ("volume", "rm"):
            self.volumes -= set(words[3:])
        return 0, "", ""


@dataclass
class Tags:
    """In place of image_tags, which has tests of its own."""

    before: dict[str, list[str]] = field(default_factory=lambda: {"chatbot-proxy:local": ["inputs", "sha256:1"]})
    back: list[object] = field(default_factory=list)
    gone: bool = False

    def note_vain(self, *_: object) -> None: ...

    def put_back(self, former: object) -> int:
        self.back.append(former)
        if self.gone:
            raise Failure(image_tags.GONE, "of chatbot-proxy:local the image of before is gone", "`make up`")
        return 1


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Docker:
    fake = Docker(volumes={f"{data}_{name}" for data in ("chatbot", "chatbot.2") for name in generations.VOLUMES})
    monkeypatch.setattr(docker_daemon, "ask", fake.ask)
    monkeypatch.setattr(docker_daemon, "ensure_running", lambda: None)
    return fake


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> Tags:
    fake = Tags()
    monkeypatch.setattr(image_tags, "remember", lambda: fake.before)
    monkeypatch.setattr(image_tags, "note_vain", fake.note_vain)
    monkeypatch.setattr(image_tags, "put_back", fake.put_back)
    return fake


@pytest.fixture
def root(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which an appliance runs, and a file of the version's is edited."""
    state = checkout / ".appliance"
    places = {
        "ROOT": checkout,
        "ENV_FILE": checkout / ".env",
        "STATE": state,
        "RESOLVED_ENV": state / "resolved.env",
        "SECRETS": state / "secrets",
        "WIREGUARD": state / "wireguard",
        "STAMPS": state / "stamps",
        "LOGS": state / "logs",
        "MODELS": checkout / "models",
        "UPGRADE_JOURNAL": state / "upgrade" / "journal.json",
    }
    for name, path in places.items():
        monkeypatch.setattr(paths, name, path)
    monkeypatch.setattr(generations, "FILE", state / "generation")
    monkeypatch.setattr(upgrading, "FOLDER", state / "upgrade")
    monkeypatch.setattr(upgrading, "NEXT", state / "upgrade" / "next")
    monkeypatch.setattr(upgrading, "_BACK", state / "upgrade" / "back")
    monkeypatch.setattr(upgrading, "_BEFORE", state / "upgrade" / "before")
    monkeypatch.setattr(upgrading, "_FORMER", state / "former-data")
    monkeypatch.setattr(upgrading, "_JOURNAL", state / "upgrade" / "journal.json")
    kept = (checkout / ".env", state / "resolved.env", state / "generation", state / "stamps")
    monkeypatch.setattr(upgrading, "_KEPT", kept)
    monkeypatch.setattr(upgrade_beside, "_FOLDERS", (state / "secrets", state / "wireguard", state / "stamps"))
    monkeypatch.setattr(upgrade_beside, "_FILES", kept[:3])
    for name, text in {
        ".env": "DOMAIN=chat.example.org\n",
        ".appliance/resolved.env": "COMPOSE_PROJECT_NAME=chatbot\nDATA_NAME=chatbot\nDOMAIN=other.example.org\n",
        ".appliance/stamps/images.json": '{"old": 1}',
        ".appliance/secrets/mongo_password": "hidden",
        "models/weights.gguf": "GGUF",
        "models/.records.json": "{}",
        "sub/own.yaml": "mine\n",
        "backups/chatbot-1.tar": "large",
        "a.txt": "edited\n",
    }.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text)
    (checkout / ".env").chmod(0o600)
    return checkout


class Counted:
    """Everything that touches disk or Docker ends as at a kill once so many such steps are done."""

    def __init__(self, patch: pytest.MonkeyPatch, steps: int) -> None:
        self.left = steps
        for module, name in ((os, "rename"), (os, "replace"), (os, "unlink"), (os, "fsync"), (os, "mkdir")):
            patch.setattr(module, name, self._counted(getattr(module, name)))
        patch.setattr(docker_daemon, "ask", self._counted(docker_daemon.ask))
        patch.setattr(shell, "capture", self._counted(shell.capture))

    def _counted(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*words: object, **more: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return function(*words, **more)

        return call


def contents(root: Path) -> dict[str, bytes]:
    """Everything in the checkout but git's own, and the upgrade's."""
    files = (path for path in root.rglob("*") if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in files}
    left_out = (".git/", ".appliance/upgrade/", ".appliance/logs/")
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(left_out)}


def exchanged(root: Path, home: Path) -> Journal:
    """An upgrade up to the moment when the new version is started."""
    new = commit(home, "New", {"sub/b.txt": "new\n", "c.txt": "new\n"})
    repository = Repository(root)
    version = repository.fetch("")
    journal = upgrading.begin(repository, repository.current().commit, new, "chatbot")
    upgrade_beside.check_out(repository, version)
    upgrade_beside.lay_out(repository, root / "backups")
    # What its `make up` leaves there.
    (upgrading.NEXT / ".appliance/stamps/images.json").write_text('{"new": 1}')
    (upgrading.NEXT / "models/other.gguf").write_text("GGUF")
    (upgrading.NEXT / ".env").write_text("DOMAIN=chat.example.org\nLANTERNS=12\n")
    upgrade_beside.bring_weights()
    journal = journal.at(STOPPED, data="chatbot.2").at(EXCHANGED)
    upgrade_beside.take(repository, version, 2)
    # What its `make up` does next.
    (root / ".env").write_text("DOMAIN=chat.example.org\nLANTERNS=12\n")
    (root / ".appliance/resolved.env").write_text("COMPOSE_PROJECT_NAME=chatbot\nDATA_NAME=chatbot.2\n")
    (root / ".appliance/stamps/sources").write_text("packages")
    return journal
