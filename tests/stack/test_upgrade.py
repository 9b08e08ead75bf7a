"""`make upgrade` on the composed appliance, while people talk: to a good version, to broken ones, and killed half-way.

It begins with the volumes of earlier commits (tests/aged). The versions are commits on top of this tree, at a home of
their own; what each brings is a change of code, schema and settings, as real ones bring them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.stack.conftest import Appliance, clean_copy, remove
from tests.stack.upgrades import EDITED, REMARK, Home, Talk, Then, state

pytestmark = pytest.mark.stack


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


def _standstill(told: str, *, within: float) -> None:
    """What an upgrade says of it, in a run that took so many seconds."""
    found = re.search(r"nobody was answered for (\d+) s", told)
    assert found, told
    assert 1 < int(found[1]) < within
    print(found[0])


@NEWEST
def test_a_new_version_with_all_data_while_people_talk(then: tuple[Then, Home]) -> None:
    appliance, home = then
    appliance.as_then()
    # An address of documentation's: nobody comes in by it, RFC 5737.
    peer = appliance.make("wg-peer", "NAME=laptop", "ENDPOINT=203.0.113.7")
    assert peer.returncode == 0, peer.stdout
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
        _standstill(done.stdout, within=time.monotonic() - begun)
        appliance.wait_healthy(also=frozenset({"wireguard"}))
    # Both doors are tried, and opened after that alone.
    for door in ("caddy", "wireguard"):
        tried = done.stdout.index(f"{door} is well with its configuration")
        assert tried < done.stdout.index("from here on it is the new version's data")
        assert done.stdout.count(f"{door} healthy after") == 1
        assert tried < done.stdout.index(f"{door} healthy after")
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
        _standstill(done.stdout, within=time.monotonic() - begun)
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
        # Whoever finds it so may edit something first.
        with (appliance.folder / ".env").open("a") as env:
            env.write("# Edited after the kill.\n")
        refused = appliance.make("restart")
        assert "upgrade.broken_off" in refused.stdout, refused.stdout
        done = appliance.make("up", SOURCES="packages")
        assert done.returncode == 0, done.stdout
        appliance.wait_healthy()
    assert talk.lost() == []
    assert "upgrade.edits_kept" in done.stdout, done.stdout
    (kept,) = (appliance.folder / ".appliance").glob("edited-since-upgrade-*/.env")
    assert kept.read_text().endswith("# Edited after the kill.\n")
    after = state(appliance)
    after.pop("resolved"), before.pop("resolved")
    assert after == before
    home.withdraw()
