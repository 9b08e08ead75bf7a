"""`make upgrade` on the composed appliance, while people talk: to a good version, to broken ones, and killed half-way.

It begins with the volumes of earlier commits (tests/aged). The versions are commits on top of this tree, at a home of
their own; what each brings is a change of code, schema and settings, as real ones bring them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.aged import Aged, fill_volumes
from tests.stack.conftest import Appliance, clean_copy, docker, remove

pytestmark = pytest.mark.stack

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
        assert "nothing to build" in done.stdout
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


@pytest.fixture(scope="module")
def then(
    request: pytest.FixtureRequest, appliance: Appliance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Then, Home]]:
    """The appliance of a commit, while the one that all tests share is down: both want the same ports."""
    assert appliance.make("down").returncode == 0
    folder = tmp_path_factory.mktemp("aged")
    aged = Then(clean_copy(folder / "checkout"), request.param)
    try:
        aged.up(appliance)
        home = Home(aged.folder, folder)
        edited = aged.folder / EDITED
        edited.write_text(REMARK + edited.read_text())
        yield aged, home
    finally:
        remove(aged)
        # Where the last upgrade has left images of another version, its own are built anew.
        done = appliance.make("up", SOURCES="packages")
        assert done.returncode == 0, done.stdout
        appliance.wait_healthy()


NEWEST = pytest.mark.parametrize("then", ["b2862b1"], indirect=True)
OLDER = pytest.mark.parametrize("then", ["5483701"], indirect=True)


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


GOOD = (
    ("proxy/chatproxy/adapters/mongo_migrations.py", "    _delete_by_hand,\n)", "    _delete_by_hand,\n    _mark,\n)"),
    (
        "proxy/chatproxy/adapters/mongo_migrations.py",
        "MIGRATIONS: tuple",
        "def _mark(database: MongoDatabase[dict[str, Any]]) -> None:\n"
        '    database["conversations"].update_many({}, {"$set": {"marked": True}})\n\n\n'
        "MIGRATIONS: tuple",
    ),
    (
        ".env.example",
        "\nPROMETHEUS_RETENTION_DAYS=",
        "\n# A setting that only this version has.\nLANTERNS=12\nPROMETHEUS_RETENTION_DAYS=",
    ),
    ("scripts/lib/settings.py", '    "WG_MTU"', '    "LANTERNS": Setting("12", whole(1, 99)),\n    "WG_MTU"'),
)


@NEWEST
def test_a_new_version_with_all_data_while_people_talk(then: tuple[Then, Home]) -> None:
    appliance, home = then
    appliance.as_then()
    before, old = state(appliance), home.here()
    first = appliance.chat("My name is Ada.")
    new = home.publish("Lanterns can be counted", *GOOD)
    shown = appliance.make("upgrade", "SHOW=1")
    assert shown.returncode == 0, shown.stdout
    for line in ("Lanterns can be counted", "new setting: LANTERNS=12", f"edited by you, and kept: {EDITED}"):
        assert line in shown.stdout
    assert state(appliance) == before
    with Talk(appliance) as talk:
        begun = time.monotonic()
        done = appliance.make("upgrade")
        print(f"{time.monotonic() - begun:.0f} s")
        assert done.returncode == 0, done.stdout
        appliance.wait_healthy()
    assert home.here() == new
    assert not talk.dishonest
    assert talk.lost() == []
    appliance.as_then()
    assert (appliance.folder / EDITED).read_text().startswith(REMARK)
    env = (appliance.folder / ".env").read_text()
    assert env.startswith(before[".env"].decode())
    assert "LANTERNS=12" in env
    after = state(appliance)
    assert after["secrets"] == before["secrets"]
    assert after["left"] is False
    assert len(after["volumes"]) == len(before["volumes"]), "the data of before is in the backup"
    assert len(list((appliance.folder / ".appliance" / "backups" / "before-upgrades").glob("*.tar"))) == 1
    second = appliance.chat("What is my name?", conversation_id=first["conversation_id"])
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]
    print(json.dumps({"chats kept": len(talk.kept)}))
    again = appliance.make("upgrade")
    assert (again.returncode, "This is the newest version" in again.stdout) == (0, True)
    older = appliance.make("upgrade", f"TO={old}")
    assert "upgrade.older" in older.stdout
    assert "make restore FROM=" in older.stdout


@OLDER
def test_a_broken_version_goes_back_by_itself(then: tuple[Then, Home]) -> None:
    appliance, home = then
    before = state(appliance)
    home.publish(
        "Broken: it deletes what was said, and then does not start",
        (
            "proxy/chatproxy/adapters/mongo_migrations.py",
            "MIGRATIONS: tuple",
            "def _lose(database: MongoDatabase[dict[str, Any]]) -> None:\n"
            '    database["messages"].delete_many({})\n'
            '    raise RuntimeError("broken on purpose")\n\n\n'
            "MIGRATIONS: tuple",
        ),
        (
            "proxy/chatproxy/adapters/mongo_migrations.py",
            "_delete_by_hand,\n",
            "_delete_by_hand,\n    _lose,\n    _lose,\n",
        ),
    )
    with Talk(appliance) as talk:
        begun = time.monotonic()
        done = appliance.make("upgrade")
        print(f"{time.monotonic() - begun:.0f} s")
        appliance.wait_healthy()
    assert done.returncode != 0
    assert "runs again, with the data of before" in done.stdout, done.stdout
    assert not talk.dishonest
    assert talk.lost() == []
    assert talk.kept
    appliance.as_then()
    assert state(appliance) == before
    home.withdraw()


@OLDER
def test_what_cannot_be_built_stops_nothing(then: tuple[Then, Home]) -> None:
    appliance, home = then
    before = state(appliance), {name: each["Id"] for name, each in appliance.containers().items()}
    home.publish(
        "Broken: its image cannot be built", ("images/proxy/Dockerfile", "\nUSER 0\n", "\nUSER 0\nRUN false\n")
    )
    done = appliance.make("upgrade")
    assert done.returncode != 0
    assert "upgrade.not_prepared" in done.stdout, done.stdout
    assert (state(appliance), {name: each["Id"] for name, each in appliance.containers().items()}) == before
    home.withdraw()
    # Where both have changed the same lines.
    home.publish("Words of its own", (EDITED, "", "# Theirs: other words.\n"))
    done = appliance.make("upgrade")
    assert "upgrade.edits_conflict" in done.stdout, done.stdout
    assert EDITED in done.stdout
    assert (state(appliance), {name: each["Id"] for name, each in appliance.containers().items()}) == before
    home.withdraw()


@pytest.mark.long
@OLDER
def test_killed_in_the_middle_it_is_led_back(then: tuple[Then, Home]) -> None:
    appliance, home = then
    before = state(appliance)
    home.publish("Another", ("proxy/chatproxy/__init__.py", "", "# Another.\n"))
    with Talk(appliance) as talk:
        running = subprocess.Popen(
            [str(appliance.folder / "scripts" / "upgrade")],
            cwd=appliance.folder,
            env={**os.environ, "COMPOSE_PROJECT_NAME": appliance.project, "CI": "true"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        journal, end = appliance.folder / ".appliance" / "upgrade" / "journal.json", time.monotonic() + 600
        while time.monotonic() < end:
            if journal.exists() and json.loads(journal.read_text())["phase"] == "exchanged":
                break
            time.sleep(0.05)
        time.sleep(5)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        refused = appliance.make("restart")
        assert "upgrade.broken_off" in refused.stdout, refused.stdout
        done = appliance.make("up", SOURCES="packages")
        assert done.returncode == 0, done.stdout
        appliance.wait_healthy()
    assert talk.lost() == []
    after = state(appliance)
    after.pop("resolved"), before.pop("resolved")
    assert after == before
    home.withdraw()
