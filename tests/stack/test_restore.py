"""A backup made while people talk; everything gone, containers, volumes, settings, secrets; all of it back from it."""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.stack.conftest import PROJECT, Appliance, clean_copy, docker, remove

pytestmark = pytest.mark.stack

PASSWORD = "correct-horse-battery-staple"
GUIDE = "# Lamps\n\n" + "".join(
    f"## Lantern {number}\n\nThe lantern number {number} burns for {number * 7} hours and weighs {number} pounds.\n\n"
    for number in range(1, 31)
)
QUESTIONS = ("How long does lantern 12 burn?", "Which lantern weighs 20 pounds?", "lantern hours", "storm")


def everything(appliance: Appliance) -> dict[str, Any]:
    """All that a key's owner can read of their conversations, and what searches find."""
    listed = appliance.request("GET", "/api/v1/conversations?limit=100").json()["conversations"]
    whole = {each["id"]: appliance.request("GET", f"/api/v1/conversations/{each['id']}").json() for each in listed}
    return {"conversations": whole, "found": {question: found(appliance, question) for question in QUESTIONS}}


def found(appliance: Appliance, query: str) -> list[Any]:
    answer = appliance.request("POST", "/api/v1/search", json={"query": query, "bot": "guide", "k": 10})
    assert answer.status_code == 200, answer.text
    return [[each["text"], each["url"], each["anchor"]] for each in answer.json()["passages"]]


def volumes() -> set[str]:
    return set(docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split())


def test_all_of_it_comes_back_from_the_archive_alone(appliance: Appliance, tmp_path: Path) -> None:
    appliance.wait_healthy()
    # As `make wg-peer` would leave it, but for the service, which the other tests do not expect.
    peer = appliance.folder / ".appliance" / "wireguard" / "laptop.conf"
    peer.parent.mkdir(mode=0o700)
    peer.write_bytes(b"[Interface]\nPrivateKey = abc\n")
    (appliance.folder / "lanterns.md").write_text(GUIDE)
    assert appliance.make("ingest", "FILE=lanterns.md", "BOT=guide").returncode == 0
    first = appliance.chat("My name is Ada.")
    appliance.chat("What is my name?", conversation_id=first["conversation_id"])
    before = everything(appliance)
    assert any(before["found"].values())

    # --- a backup while people talk ---
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    enough, said, troubles = threading.Event(), [0], list[str]()

    def talk() -> None:
        while not enough.is_set():
            try:
                appliance.chat(f"Say a word. {uuid.uuid4().hex}")
                said[0] += 1
            except AssertionError as error:
                troubles.append(str(error))

    talker = threading.Thread(target=talk)
    talker.start()
    until = time.monotonic() + 60
    while not said[0] and time.monotonic() < until:
        time.sleep(0.2)
    made = appliance.make("backup", f"TO={tmp_path}", f"BACKUP_PASSWORD_FILE={password}")
    enough.set()
    talker.join()
    assert made.returncode == 0, made.stdout
    assert not troubles
    (archive,) = tmp_path.glob("*.tar.gpg")
    print(made.stdout.strip().splitlines()[-1])

    # --- it can be restored, and nothing of what runs is touched by trying ---
    here = volumes()
    checked = appliance.make("backup-check", f"FROM={archive}", f"BACKUP_PASSWORD_FILE={password}")
    assert checked.returncode == 0, checked.stdout
    assert "no difference" in checked.stdout
    assert volumes() == here
    appliance.wait_healthy()

    # --- all of it gone ---
    config = peer.read_bytes()
    authority = Path(str(appliance.session.verify)).read_bytes()
    remove(appliance)
    shutil.rmtree(appliance.folder)
    appliance.folder = clean_copy(tmp_path / "blank")

    # --- what is damaged, and what cannot be opened, changes nothing ---
    damaged = tmp_path / archive.name.replace("chatbot", "damaged")
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 1
    damaged.write_bytes(raw)
    for words, finding in (
        ([f"FROM={damaged}", f"BACKUP_PASSWORD_FILE={password}"], "backup.broken"),
        ([f"FROM={archive}"], "backup.encrypted"),
        ([f"FROM={tmp_path / 'none.tar'}"], "backup.missing"),
        ([], "restore.from_missing"),
    ):
        refused = appliance.make("restore", *words)
        assert refused.returncode != 0
        assert finding in refused.stdout, refused.stdout
    assert volumes() == set()
    assert not (appliance.folder / ".env").exists()

    # --- and back ---
    restored = appliance.make("restore", f"FROM={archive}", f"BACKUP_PASSWORD_FILE={password}")
    assert restored.returncode == 0, restored.stdout
    root = appliance.folder / ".appliance" / "test-root.crt"
    root.write_bytes(authority)
    # Nothing is told to trust another authority: browsers go on trusting this one.
    appliance.session.verify = str(root)
    assert "key       shown at the first start" in restored.stdout
    assert (appliance.folder / ".appliance" / "wireguard" / "laptop.conf").read_bytes() == config
    shutil.rmtree(appliance.folder / ".appliance" / "wireguard")
    after = everything(appliance)
    for identity, conversation in before["conversations"].items():
        assert after["conversations"][identity] == conversation
    assert after["found"] == before["found"]
    second = appliance.chat("What is my name?", conversation_id=first["conversation_id"])
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]


@pytest.mark.long
def test_a_restore_beside_what_runs_can_be_undone(appliance: Appliance, tmp_path: Path) -> None:
    appliance.wait_healthy()
    kept = appliance.chat("Remember the lighthouse.")["conversation_id"]
    assert appliance.make("backup", f"TO={tmp_path}").returncode == 0
    (archive,) = tmp_path.glob("*.tar")
    later = appliance.chat("Remember the harbour.")["conversation_id"]
    restored = appliance.make("restore", f"FROM={archive}")
    assert restored.returncode == 0, restored.stdout
    assert appliance.messages(kept)
    assert appliance.request("GET", f"/api/v1/conversations/{later}").status_code == 404
    undone = appliance.make("restore", "UNDO=1")
    assert undone.returncode == 0, undone.stdout
    assert appliance.messages(later)
    assert appliance.messages(kept)
    # The numbers of generations go on, and no more than two are kept.
    restored = appliance.make("restore", f"FROM={archive}")
    assert restored.returncode == 0, restored.stdout
    names = {name.partition("_")[0] for name in volumes() if name.endswith("mongo_data")}
    assert len(names) == 2
    assert json.dumps(appliance.messages(kept))
