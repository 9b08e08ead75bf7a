"""make backup that is killed, interrupted or not alone; and make backups, which lists what there is."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from scripts.lib import archive
from tests.unit.scripts.backup_checkout import Checkout

OLD = "chatbot-20200101T000000Z.tar"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "appliance")


# --- killed, interrupted, two at once ---------------------------------------------------------------------------------


def test_killed_at_any_moment_older_archives_are_whole_and_the_next_one_cleans_up(checkout: Checkout) -> None:
    assert checkout.run()[0] == 0
    checkout.settings(BACKUP_KEEP="all")
    begun = time.monotonic()
    assert checkout.run()[0] == 0
    needs = time.monotonic() - begun + 0.6
    before = {name: (checkout.archives / name).read_bytes() for name in checkout.names()}
    checkout.plan(steps=30, pause=0.02)
    chance = random.Random(6)
    for _ in range(12):
        with checkout.start() as process:
            time.sleep(chance.uniform(0.15, needs))
            process.kill()
        for name in checkout.names():
            assert archive.verify(checkout.archives / name, deep=True)
            assert name not in before or (checkout.archives / name).read_bytes() == before[name]
        assert set(before) <= set(checkout.names())
        assert len(checkout.drafts()) <= 1
    checkout.plan()
    assert checkout.run()[0] == 0
    assert checkout.drafts() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ended_by_a_signal_it_leaves_nothing(number: signal.Signals, checkout: Checkout) -> None:
    checkout.older(OLD)
    checkout.plan(steps=400, pause=0.1)
    with checkout.start() as process:
        end = time.monotonic() + 60
        while not checkout.drafts() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) == 130
    assert checkout.names() == [OLD] and checkout.drafts() == []
    assert checkout.attempt()["trouble"] == "it was interrupted"


def test_only_ones_own_drafts_are_removed(checkout: Checkout) -> None:
    mine = checkout.older(f".{OLD}.part")
    others = [
        checkout.older(name) for name in (".chatbot-test-20200101T000000Z.tar.part", ".chatbot-x.part", ".a.part")
    ]
    status, _, err = checkout.run()
    assert status == 0 and f"removed {mine.name}" in err
    assert not mine.exists() and all(path.exists() for path in others)


def test_while_another_command_is_at_work_it_is_refused_and_says_whose(checkout: Checkout) -> None:
    folder = os.open(checkout.folder, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        err = checkout.fails("appliance.busy")
        assert f"process {os.getpid()}" in err
    finally:
        os.close(folder)


def test_a_scheduled_one_waits_for_another_command(checkout: Checkout) -> None:
    folder = os.open(checkout.folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with checkout.start(SCHEDULED="1") as process:
        time.sleep(1.5)
        assert process.poll() is None
        os.close(folder)
        assert process.wait(30) == 0
    assert len(checkout.names()) == 1 and checkout.attempt()["scheduled"]


# --- make backups -----------------------------------------------------------------------------------------------------


def test_the_list_has_each_archive_and_how_it_was_verified(checkout: Checkout) -> None:
    assert checkout.run("backups")[1].startswith("no archive in ")
    checkout.older(OLD)
    assert checkout.run()[0] == 0
    checkout.settings(BACKUP_KEEP="all")
    status, out, _ = checkout.run("backups", JSON="1")
    new, old = json.loads(out)
    assert status == 0 and new["state"] == "verified when it was made" and not new["encrypted"]
    assert old["path"].endswith(OLD) and "never read here" in old["state"]
    text = checkout.run("backups")[1].splitlines()
    assert len(text) == 2 and "open" in text[0] and "d 0 h old" not in text[0]


def test_a_check_reads_all_and_finds_the_damaged_one(checkout: Checkout) -> None:
    assert checkout.run()[0] == 0
    assert checkout.run("backups", CHECK="1")[0] == 0
    path = checkout.archives / checkout.names()[0]
    raw = bytearray(path.read_bytes())
    raw[3000] ^= 1
    path.write_bytes(raw)
    status, out, _ = checkout.run("backups")
    assert status == 0 and "changed since it was verified" in out
    status, out, _ = checkout.run("backups", CHECK="1")
    assert status == 1 and "backup.broken" in out
