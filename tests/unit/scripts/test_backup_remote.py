"""Archives off this machine, through the real rclone and the real restic, into folders."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from scripts.lib import backup_remote, shell
from scripts.lib.failure import Failure
from tests.unit.scripts.backup_checkout import Checkout

OLD = [f"chatbot-2020010{day}T000000Z.tar" for day in (1, 2, 3)]
needs_rclone = pytest.mark.skipif(shell.which("rclone") is None, reason="needs Debian's rclone")
needs_restic = pytest.mark.skipif(shell.which("restic") is None, reason="needs Debian's restic")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "appliance")


@pytest.fixture
def password(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    return str(file)


def restic(repository: Path, password: str, *words: str) -> str:
    command = ["restic", "-r", str(repository), "--password-file", password, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_rclone
def test_rclone_brings_it_there_rotates_there_and_touches_nothing_else(checkout: Checkout, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for name in (*OLD, "photos.tar"):
        (there / name).write_bytes(b"x")
    checkout.settings(BACKUP_REMOTE=f"rclone:{there}", BACKUP_KEEP="2")
    status, _, err = checkout.run()
    assert status == 0, err
    (name,) = checkout.names()
    assert sorted(path.name for path in there.iterdir()) == [OLD[-1], name, "photos.tar"]
    assert (there / name).read_bytes() == (checkout.archives / name).read_bytes()
    assert f"off-site: rclone:{there}" in checkout.run("backups")[1]


@needs_rclone
def test_what_rclone_needs_comes_from_the_file_for_it(checkout: Checkout, tmp_path: Path) -> None:
    env = tmp_path / "remote.env"
    env.write_text(f"RCLONE_CONFIG_DISK_TYPE=alias\nRCLONE_CONFIG_DISK_REMOTE={tmp_path}\n")
    checkout.settings(BACKUP_REMOTE="rclone:disk:there", BACKUP_REMOTE_ENV=str(env))
    status, _, err = checkout.run()
    assert status == 0, err
    assert [path.name for path in (tmp_path / "there").iterdir()] == checkout.names()


@needs_rclone
def test_a_place_that_is_not_there_is_a_failure_and_the_archive_here_stands(checkout: Checkout, tmp_path: Path) -> None:
    checkout.settings(BACKUP_REMOTE="rclone:nowhere:backups")
    status, out, err = checkout.run()
    assert status == 1 and "backup.remote_failed" in err
    (name,) = checkout.names()
    assert name in out
    assert checkout.attempt()["trouble"].startswith("backup.remote_failed") and checkout.attempt()["archive"]
    assert json.loads(checkout.run("backups", JSON="1")[1])[0]["remote"] == ""


@needs_rclone
@pytest.mark.skipif(shell.which("chattr") is None, reason="needs chattr")
def test_where_nothing_may_be_deleted_the_copy_stands_and_that_is_told(checkout: Checkout, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for name in OLD:
        (there / name).write_bytes(b"x")
    protected = there / OLD[0]
    if subprocess.run(["chattr", "+i", str(protected)], check=False, capture_output=True).returncode != 0:
        pytest.skip("this file system knows no such files")
    try:
        checkout.settings(BACKUP_REMOTE=f"rclone:{there}", BACKUP_KEEP="1")
        status, _, err = checkout.run()
        assert status == 1 and "backup.remote_not_rotated" in err
        assert (there / checkout.names()[0]).exists()
    finally:
        subprocess.run(["chattr", "-i", str(protected)], check=True)


def test_a_file_for_it_that_is_not_there_is_told(checkout: Checkout, tmp_path: Path) -> None:
    found = {"BACKUP_REMOTE": "rclone:x:y", "BACKUP_REMOTE_ENV": str(tmp_path / "none"), "BACKUP_KEEP": "1"}
    with pytest.raises(Failure, match=r"backup\.remote_env_unreadable"):
        backup_remote.named({**found, "BACKUP_PASSWORD_FILE": ""}, "chatbot")  # type: ignore[arg-type]


@needs_restic
def test_restic_makes_its_repository_takes_each_archive_and_forgets_by_the_same_rules(
    checkout: Checkout, tmp_path: Path, password: str
) -> None:
    there = tmp_path / "there"
    checkout.settings(BACKUP_REMOTE=f"restic:{there}", BACKUP_PASSWORD_FILE=password, BACKUP_KEEP="2")
    for _ in range(3):
        status, _, err = checkout.run()
        assert status == 0, err
    snapshots = json.loads(restic(there, password, "snapshots", "--json"))
    assert [snapshot["tags"] for snapshot in snapshots] == [["chatbot-backup"]] * 2
    restic(there, password, "restore", "latest", "--target", str(tmp_path / "back"))
    (back,) = (tmp_path / "back").rglob("*.tar.gpg")
    assert back.name == checkout.names()[-1]
    assert back.read_bytes() == (checkout.archives / back.name).read_bytes()


@needs_restic
def test_other_snapshots_in_the_repository_are_left_alone(checkout: Checkout, tmp_path: Path, password: str) -> None:
    there = tmp_path / "there"
    restic(there, password, "init")
    for number in range(3):
        (tmp_path / "mine").write_text(str(number))
        restic(there, password, "backup", str(tmp_path / "mine"))
    checkout.settings(BACKUP_REMOTE=f"restic:{there}", BACKUP_PASSWORD_FILE=password, BACKUP_KEEP="1")
    assert checkout.run()[0] == 0
    assert len(json.loads(restic(there, password, "snapshots", "--json"))) == 4


@needs_restic
def test_a_repository_with_another_password_is_a_failure_and_is_not_made_anew(
    checkout: Checkout, tmp_path: Path, password: str
) -> None:
    there, other = tmp_path / "there", tmp_path / "other"
    other.write_text("another")
    restic(there, str(other), "init")
    before = sorted(path for path in there.rglob("*") if path.is_file())
    checkout.settings(BACKUP_REMOTE=f"restic:{there}", BACKUP_PASSWORD_FILE=password)
    status, _, err = checkout.run()
    assert status == 1 and "backup.remote_failed" in err and len(checkout.names()) == 1
    assert sorted(path for path in there.rglob("*") if path.is_file()) == before


@needs_restic
def test_the_password_is_in_no_argument_and_no_log(checkout: Checkout, tmp_path: Path, password: str) -> None:
    checkout.settings(BACKUP_REMOTE=f"restic:{tmp_path / 'there'}", BACKUP_PASSWORD_FILE=password)
    assert checkout.run()[0] == 0
    logs = b"".join(path.read_bytes() for path in (checkout.folder / ".appliance" / "logs").iterdir())
    assert b"correct horse" not in logs and os.fsencode(password) in logs
