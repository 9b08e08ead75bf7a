"""What the tests of upgrades are made with: a home of versions, the volumes of earlier commits, and people who talk."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import requests

from tests.aged import Aged, fill_volumes
from tests.stack.conftest import Appliance, docker, remove

EDITED = "compose/bots/assistant.yaml"
REMARK = "# Ours: the shop's own words follow.\n"
_WHO = ("-c", "user.name=Home", "-c", "user.email=home@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    command = ["git", *_WHO, "-c", f"safe.directory={folder}", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Home:
    """Where the appliance's checkout comes from; new versions are made in a clone of it."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.checkout, self._bare, self._work = checkout, folder / "home.git", folder / "work"
        git(checkout, "init", "--quiet", "--initial-branch=main")
        git(checkout, "add", "--all")
        git(checkout, "commit", "--quiet", "--message=First")
        git(folder, "clone", "--quiet", "--bare", str(checkout), str(self._bare))
        git(checkout, "remote", "add", "origin", str(self._bare))
        git(checkout, "fetch", "--quiet", "origin")
        git(checkout, "branch", "--quiet", "--set-upstream-to=origin/main", "main")
        git(folder, "clone", "--quiet", str(self._bare), str(self._work))

    def publish(self, title: str, *changes: tuple[str, str, str]) -> str:
        """A new version of main with each (file, text, other text) replaced; its commit."""
        git(self._work, "fetch", "--quiet", "origin")
        for name, old, new in changes:
            path = self._work / name
            text = path.read_text() if path.exists() else ""
            assert old in text
            path.write_text(text.replace(old, new, 1))
        git(self._work, "add", "--all")
        git(self._work, "commit", "--quiet", f"--message={title}")
        git(self._work, "push", "--quiet", "origin", "HEAD:main")
        return git(self._work, "rev-parse", "HEAD")

    def withdraw(self) -> None:
        """Take the newest version back."""
        git(self._work, "reset", "--quiet", "--hard", "HEAD~1")
        git(self._work, "push", "--quiet", "--force", "origin", "HEAD:main")

    def here(self) -> str:
        return git(self.checkout, "rev-parse", "HEAD")


class Then(Appliance):
    """This program on the volumes that an earlier commit left, in a checkout that is in git."""

    def __init__(self, folder: Path, commit: str) -> None:
        super().__init__(folder, "chatbot-aged")
        self.aged = Aged(commit)

    def up(self, like: Appliance) -> None:
        """`make up`, with the images and weights that the other one has made."""
        remove(self)
        self.key = fill_volumes(self.project, self.aged, self.folder).key
        (self.folder / ".appliance" / "stamps").mkdir(parents=True, exist_ok=True)
        for name in ("images.json", "former-images.json"):
            if (like.folder / ".appliance" / "stamps" / name).exists():
                shutil.copy2(like.folder / ".appliance" / "stamps" / name, self.folder / ".appliance" / "stamps" / name)
        for path in (like.folder / "models").iterdir():
            if path.is_file() and not (self.folder / "models" / path.name).exists():
                os.link(path, self.folder / "models" / path.name)
        done = self.make("up", SOURCES="packages")
        assert done.returncode == 0, done.stdout
        self.trust()

    def as_then(self) -> None:
        """Fails unless the API tells every conversation of the key's owner, and finds, what that commit's did."""
        told = [each["told"] for each in self.aged.expected["conversations"] if each["owner"] == "key"]
        assert told
        for each in told:
            assert self.request("GET", f"/api/v1/conversations/{each['id']}?limit=200").json() == each
        for each in self.aged.expected.get("searches", []):
            wanted = {"query": each["query"], "bot": "guide", "k": 10}
            assert self.request("POST", "/api/v1/search", json=wanted).json()["passages"] == each["found"]


class Talk:
    """People who talk all the time; `kept` is what they were told is stored: {conversation: question}."""

    def __init__(self, appliance: Appliance) -> None:
        self._appliance, self._enough = appliance, threading.Event()
        self.kept: dict[str, str] = {}
        self.dishonest: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Talk:
        self._thread.start()
        end = time.monotonic() + 60
        while not self.kept and time.monotonic() < end:
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(300)

    def _run(self) -> None:
        while not self._enough.is_set():
            question = f"Say a word. {uuid.uuid4().hex}"
            try:
                answer = self._appliance.request("POST", "/api/v1/chat", json={"message": question})
            except requests.RequestException:
                time.sleep(0.5)
                continue
            if answer.status_code == 200:
                self.kept[answer.json()["conversation_id"]] = question
            elif answer.status_code not in (502, 503):
                self.dishonest.append(f"{answer.status_code} {answer.text[:200]}")

    def lost(self) -> list[str]:
        return [
            question
            for conversation, question in self.kept.items()
            if [each["text"] for each in self._appliance.messages(conversation)][:1] != [question]
        ]


def state(appliance: Appliance) -> dict[str, Any]:
    """What an upgrade that came to nothing leaves as it was."""
    folder = appliance.folder
    volumes = docker(
        "volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={appliance.project}"
    ).split()
    images = docker("image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", "chatbot-*").split(
        "\n"
    )
    return {
        "commit": git(folder, "rev-parse", "HEAD"),
        "edits": git(folder, "diff", "HEAD"),
        ".env": (folder / ".env").read_bytes(),
        "resolved": (folder / ".appliance" / "resolved.env").read_bytes(),
        "stamps": (folder / ".appliance" / "stamps" / "images.json").read_bytes(),
        "secrets": sorted((path.name, path.read_bytes()) for path in (folder / ".appliance" / "secrets").iterdir()),
        "volumes": sorted(volumes),
        "images": sorted(images),
        "left": (folder / ".appliance" / "upgrade").exists(),
    }
