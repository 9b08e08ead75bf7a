"""make backup and make backups: the real commands, beside an appliance that Docker's double plays."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import random
import re
import signal
import stat
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from scripts.lib import archive
from tests.unit.scripts.backup_checkout import DOCUMENT, Checkout, dump

OLD = "chatbot-20200101T000000Z.tar"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "appliance")


def failed(checkout: Checkout, finding: str, **environment: str) -> str:
    """A backup fails with this finding, says what to do, and leaves nothing but what was there; returns stderr."""
    before = {path: path.read_bytes() for path in checkout.archives.glob("*")} if checkout.archives.is_dir() else {}
    status, out, err = checkout.run(**environment)
    assert (status, out) == (1, ""), err
    assert re.search(rf"error {re.escape(finding)}: .+\n  -> .+", err), err
    left = {path: path.read_bytes() for path in checkout.archives.glob("*")} if checkout.archives.is_dir() else {}
    assert left == before and checkout.drafts() == []
    return err


# --- what is made -----------------------------------------------------------------------------------------------------


def test_a_backup_holds_data_settings_secrets_and_certificates(checkout: Checkout) -> None:
    status, out, err = checkout.run()
    assert status == 0, err
    (name,) = checkout.names()
    found = archive.verify(checkout.archives / name, deep=True)
    names = [member.name for member in found.members()]
    assert names == [
        *("FORMAT", "data/mongo/messages.metadata.json.gz", "data/mongo/messages.bson.gz"),
        *("data/mongo/keys.metadata.json.gz", "data/mongo/keys.bson.gz", "data/data.json", "settings/.env"),
        *("settings/secrets/mongo_password", "settings/wireguard/peers/laptop.conf", "settings/stamps/sources"),
        *("settings/compose/bots/mine.yaml", "caddy/caddy/pki/root.crt"),
    ]
    assert found.read("settings/secrets/mongo_password") == b"secret"
    assert found.read("caddy/caddy/pki/root.crt") == b"certificate"
    assert (found.manifest.project, found.manifest.sources, found.manifest.version) == ("chatbot", "packages", "0.1.0")
    (model,) = found.manifest.models
    assert (model.name, model.bytes, model.sha256) == ("a.gguf", 7, hashlib.sha256(b"weights").hexdigest())
    assert re.search(rf"{name}  .* in .* \(.* MB/s\), read back and verified", out)


def test_only_its_owner_may_read_an_archive_and_its_folder(checkout: Checkout) -> None:
    assert checkout.run()[0] == 0
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (checkout.archives, checkout.archives / checkout.names()[0])]
    assert modes == [0o700, 0o600]


def test_the_proxy_is_told_the_moment_that_the_archive_is_called_after(checkout: Checkout) -> None:
    assert checkout.run()[0] == 0
    (told,) = [call for call in checkout.calls() if "data done" in call]
    at = told.rpartition(" ")[2]
    assert checkout.names() == [f"chatbot-{at.replace('-', '').replace(':', '')}.tar"]


def test_caddys_volume_is_read_without_network_or_rights_even_where_caddy_is_down(checkout: Checkout) -> None:
    services = dict.fromkeys(("mongo", "chroma", "embeddings", "worker"), "running") | {"caddy": "exited"}
    checkout.plan(services=services)
    assert checkout.run()[0] == 0
    (call,) = [call for call in checkout.calls() if call.startswith("run ")]
    for limit in (
        "--network=none",
        "--read-only",
        "--cap-drop=ALL",
        "source=v_caddy,target=/from,readonly",
        "--pull=never",
    ):
        assert limit in call


def test_files_that_settings_name_elsewhere_come_along_but_not_the_backups_own_password(
    checkout: Checkout, tmp_path: Path
) -> None:
    for name in ("mail", "engine", "own"):
        (tmp_path / name).write_text(f"{name} password\n")
    own = {"SMTP_PASSWORD_FILE": str(tmp_path / "mail"), "ENGINE_API_KEY_FILE": str(tmp_path / "engine")}
    checkout.settings(**own, BACKUP_PASSWORD_FILE=str(tmp_path / "own"))
    assert checkout.run()[0] == 0
    (name,) = checkout.names()
    assert name.endswith(".tar.gpg")
    found = archive.verify(checkout.archives / name, str(tmp_path / "own"))
    assert found.read("settings/own/SMTP_PASSWORD_FILE") == b"mail password\n"
    assert found.read("settings/own/ENGINE_API_KEY_FILE") == b"engine password\n"
    assert "own password" not in str(found.small)
    assert b"password" not in (checkout.archives / name).read_bytes()


def test_a_folder_of_ones_own_takes_one_archive_and_is_not_rotated(checkout: Checkout, tmp_path: Path) -> None:
    usb = tmp_path / "usb"
    usb.mkdir()
    (usb / OLD).write_bytes(b"old")
    checkout.settings(BACKUP_KEEP="1")
    status, _, err = checkout.run(TO=str(usb))
    assert status == 0, err
    assert len(list(usb.glob("chatbot-*.tar"))) == 2 and checkout.names() == []


def test_two_in_the_same_second_are_two(checkout: Checkout) -> None:
    checkout.settings(BACKUP_KEEP="all")
    now = int(time.time())
    taken = [time.strftime("chatbot-%Y%m%dT%H%M%SZ.tar", time.gmtime(now + second)) for second in range(60)]
    for name in taken:
        checkout.older(name)
    assert checkout.run()[0] == 0
    assert len(checkout.names()) == 61 and all((checkout.archives / name).stat().st_size < 100 for name in taken)


# --- what stays -------------------------------------------------------------------------------------------------------


def test_rotation_comes_after_the_new_one_and_touches_nothing_else(checkout: Checkout) -> None:
    checkout.settings(BACKUP_KEEP="2")
    for day in (1, 2, 3):
        checkout.older(f"chatbot-2020010{day}T000000Z.tar")
    others = [checkout.older(name) for name in ("photos.tar", "chatbot-test-20200101T000000Z.tar", "chatbot-old.tar")]
    assert checkout.run()[0] == 0
    left = [name for name in checkout.names() if re.match(r"chatbot-2\d{3}", name)]
    assert len(left) == 2 and left[0] == "chatbot-20200103T000000Z.tar"
    assert all(path.exists() for path in others)


def test_the_new_one_stays_where_the_clock_went_back(checkout: Checkout) -> None:
    checkout.settings(BACKUP_KEEP="1")
    ahead = checkout.older("chatbot-29990101T000000Z.tar")
    assert checkout.run()[0] == 0
    assert len(checkout.names()) == 2 and ahead.exists()


# --- what is refused, and leaves everything as it was -----------------------------------------------------------------


@pytest.mark.parametrize("service", ["mongo", "chroma", "embeddings", "worker"])
def test_a_service_that_is_down_is_named(service: str, checkout: Checkout) -> None:
    checkout.older(OLD)
    services = dict.fromkeys(("mongo", "chroma", "embeddings", "worker"), "running") | {service: "exited"}
    checkout.plan(services=services)
    assert f"{service} is exited" in failed(checkout, "backup.not_running")
    del services[service]
    checkout.plan(services=services)
    assert f"{service} has no container" in failed(checkout, "backup.not_running")


def test_what_the_dump_finds_is_told_in_its_own_words(checkout: Checkout) -> None:
    checkout.older(OLD)
    said = "backup.store_empty: the database has no schema\n  -> `make restore` brings one back\n"
    checkout.plan(dump_status=1, dump_says=said, cut=0)
    assert "the database has no schema" in failed(checkout, "backup.store_empty")
    assert checkout.attempt()["trouble"] == "backup.store_empty: the database has no schema"


def test_an_empty_dump_is_refused_even_where_it_calls_itself_whole(checkout: Checkout) -> None:
    checkout.data(dump({"keys": b""}, documents=0))
    failed(checkout, "backup.store_empty")


def test_a_dump_that_breaks_off_anywhere_is_no_backup(checkout: Checkout) -> None:
    checkout.older(OLD)
    whole = len(dump({"messages": DOCUMENT * 100, "keys": DOCUMENT}, parts=3))
    for cut in (0, 100, 512, 1000, 4096, whole // 2 // 512 * 512, whole - 10240):
        checkout.plan(cut=cut)
        failed(checkout, "backup.dump_broken")


def test_a_dump_that_fails_at_its_very_end_is_no_backup(checkout: Checkout) -> None:
    checkout.plan(dump_status=1, dump_says="Killed\n")
    assert "Killed" in failed(checkout, "backup.dump_broken")


def test_a_dump_whose_documents_are_not_what_it_says_is_no_backup(checkout: Checkout) -> None:
    content = dump({"messages": DOCUMENT * 100}, parts=1)
    digest = hashlib.sha256(DOCUMENT * 100).hexdigest().encode()
    checkout.data(content.replace(digest, digest[::-1]))
    failed(checkout, "backup.broken")


@pytest.mark.parametrize("hostile", ["../../etc/passwd", "/etc/passwd", "mongo/../../x"])
def test_a_dump_that_names_files_elsewhere_is_refused(hostile: str, checkout: Checkout) -> None:
    content = dump({"x" * len(hostile.removeprefix("mongo/")): DOCUMENT})
    name = b"mongo/" + b"x" * len(hostile.removeprefix("mongo/")) + b".bson.gz"
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar, tarfile.open(fileobj=out, mode="w") as changed:
        for info in tar.getmembers():
            if info.name.encode() == name:
                info.name = hostile
            changed.addfile(info, tar.extractfile(info))
    checkout.data(out.getvalue())
    failed(checkout, "backup.not_written")


def test_a_worker_of_before_is_told_apart(checkout: Checkout) -> None:
    said = "usage: chatproxy\n__main__.py: error: argument family: invalid choice: 'data' (choose from 'keys')\n"
    checkout.plan(dump_status=2, dump_says=said, cut=0)
    failed(checkout, "backup.worker_old")


def test_a_full_disk_is_told_before_anything_is_read(checkout: Checkout) -> None:
    checkout.older(OLD)
    checkout.plan(du=str(2**40))
    assert "BACKUP_DIR" in failed(checkout, "backup.no_space")
    assert not [call for call in checkout.calls() if "data dump" in call]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_disk_that_fills_up_in_the_middle_leaves_older_archives_whole(checkout: Checkout, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(small)], check=False).returncode != 0:
        pytest.skip("no file system of one's own can be mounted here")
    try:
        checkout.archives = small
        checkout.settings(BACKUP_DIR=str(small))
        checkout.older(OLD)
        checkout.data(dump({"messages": random.Random(1).randbytes(30 * 2**20)}, parts=2))
        assert "untouched" in failed(checkout, "backup.no_space")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_folder_that_cannot_be_made_is_told(checkout: Checkout) -> None:
    checkout.put("file", "")
    checkout.settings(BACKUP_DIR="file/backups")
    failed(checkout, "backup.not_written")


def test_settings_that_cannot_be_used_are_told(checkout: Checkout, tmp_path: Path) -> None:
    checkout.settings(BACKUP_KEEP="seven")
    failed(checkout, "setting.invalid")
    checkout.settings(BACKUP_PASSWORD_FILE=str(tmp_path / "none"))
    failed(checkout, "backup.password_unreadable")
    checkout.settings(BACKUP_REMOTE="restic:/srv/repository")
    failed(checkout, "backup.password_missing")
    checkout.settings(SMTP_PASSWORD_FILE=str(tmp_path / "none"))
    failed(checkout, "backup.files_unreadable")


def test_a_missing_volume_of_certificates_is_told_and_not_made(checkout: Checkout) -> None:
    checkout.plan(volume=1)
    failed(checkout, "volume.missing")
    assert not [call for call in checkout.calls() if call.startswith("run ")]


def test_an_appliance_that_never_was_set_up_is_told(checkout: Checkout) -> None:
    (checkout.folder / ".appliance" / "resolved.env").unlink()
    failed(checkout, "appliance.not_set_up")


def test_a_proxy_that_cannot_be_told_leaves_the_archive_and_says_so(checkout: Checkout) -> None:
    checkout.plan(done_status=1, done_says="backup.storage_unavailable: MongoDB is away\n")
    status, out, err = checkout.run()
    assert status == 1 and "backup.not_recorded" in err
    assert archive.verify(checkout.archives / checkout.names()[0]) and checkout.names()[0] in out


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
    checkout.plan(steps=100, pause=0.1)
    with checkout.start() as process:
        for _ in range(100):
            if checkout.drafts():
                break
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(20) == 130
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
        err = failed(checkout, "appliance.busy")
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


def test_the_expected_size_is_the_last_ones(checkout: Checkout) -> None:
    """Once there is one, nothing has to be asked inside the containers."""
    assert checkout.run()[0] == 0
    checkout.plan(du=str(2**40))
    assert checkout.run()[0] == 0
