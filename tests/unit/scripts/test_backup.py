"""make backup and make backups: the real commands, beside an appliance that Docker's double plays."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import stat
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from scripts.lib import archive
from scripts.lib.backup_store import Store
from tests.unit.scripts.backup_checkout import DOCUMENT, Checkout, dump

OLD = "chatbot-20200101T000000Z.tar"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "appliance")


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


def test_what_others_put_into_a_folder_that_all_may_write_to_leads_nowhere(checkout: Checkout, tmp_path: Path) -> None:
    place, victim = tmp_path / "all", tmp_path / "shadow"
    place.mkdir()
    place.chmod(0o1777)
    victim.write_text("root:x")
    notes = place / ".chatbot-backups.json"
    notes.symlink_to(victim)
    assert checkout.run(TO=str(place))[0] == 0
    assert victim.read_text() == "root:x"
    assert not notes.is_symlink() and notes.stat().st_mode & 0o777 == 0o600
    notes.unlink()
    os.mkfifo(notes)
    assert checkout.run(TO=str(place))[0] == 0
    assert stat.S_ISREG(notes.stat().st_mode)


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


def test_those_of_before_upgrades_are_listed_marked_and_not_rotated(checkout: Checkout) -> None:
    checkout.settings(BACKUP_KEEP="1")
    checkout.older("chatbot-20200101T000000Z.tar")
    apart = checkout.archives / "before-upgrades"
    apart.mkdir()
    for name in (
        "chatbot-20200102T000000Z.tar",
        "chatbot-20200103T000000Z.tar.gpg",
        "chatbot-two-20200102T000000Z.tar",
    ):
        (apart / name).write_bytes(b"an archive of before")
    told = json.loads(checkout.run("backups", JSON="1")[1])
    assert [(each["path"], each["before_upgrade"]) for each in told] == [
        (str(apart / "chatbot-20200103T000000Z.tar.gpg"), True),
        (str(apart / "chatbot-20200102T000000Z.tar"), True),
        (str(checkout.archives / "chatbot-20200101T000000Z.tar"), False),
    ]
    lines = checkout.run("backups")[1].splitlines()
    assert [line.endswith("  before an upgrade") for line in lines] == [True, True, False]
    # They are read too.
    status, out, _ = checkout.run("backups", CHECK="1", JSON="1")
    assert (status, json.loads(out)[1]["damaged"]) == (1, True)
    # `make status` and the alerts reckon with those that a schedule makes.
    assert [kept.path.name for kept in Store(checkout.archives, "chatbot").archives()] == [
        "chatbot-20200101T000000Z.tar"
    ]
    assert checkout.run()[0] == 0
    assert len(checkout.names()) == 1 and len(list(apart.glob("chatbot*"))) == 3


def test_where_only_upgrades_have_made_one_it_is_listed(checkout: Checkout) -> None:
    (checkout.archives / "before-upgrades").mkdir(parents=True)
    assert "no archive in" in checkout.run("backups")[1]
    (checkout.archives / "before-upgrades" / "chatbot-20200102T000000Z.tar").write_bytes(b"an archive of before")
    assert "chatbot-20200102T000000Z.tar" in checkout.run("backups")[1]


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
    assert f"{service} is exited" in checkout.fails("backup.not_running")
    del services[service]
    checkout.plan(services=services)
    assert f"{service} has no container" in checkout.fails("backup.not_running")


def test_what_the_dump_finds_is_told_in_its_own_words(checkout: Checkout) -> None:
    checkout.older(OLD)
    said = "backup.store_empty: the database has no schema\n  -> `make restore` brings one back\n"
    checkout.plan(dump_status=1, dump_says=said, cut=0)
    assert "the database has no schema" in checkout.fails("backup.store_empty")
    assert checkout.attempt()["trouble"] == "backup.store_empty: the database has no schema"


def test_an_empty_dump_is_refused_even_where_it_calls_itself_whole(checkout: Checkout) -> None:
    checkout.data(dump({"keys": b""}, documents=0))
    checkout.fails("backup.store_empty")


def test_a_dump_that_breaks_off_anywhere_is_no_backup(checkout: Checkout) -> None:
    checkout.older(OLD)
    whole = len(dump({"messages": DOCUMENT * 100, "keys": DOCUMENT}, parts=3))
    for cut in (0, 100, 512, 1000, 4096, whole // 2 // 512 * 512, whole - 10240):
        checkout.plan(cut=cut)
        checkout.fails("backup.dump_broken")


def test_a_dump_that_fails_at_its_very_end_is_no_backup(checkout: Checkout) -> None:
    checkout.plan(dump_status=1, dump_says="it hurts\n")
    assert "it hurts" in checkout.fails("backup.dump_broken")
    checkout.plan(dump_status=137, dump_says="Killed\n")
    assert "WORKER_MEMORY" in checkout.fails("backup.dump_broken")


def test_a_dump_whose_documents_are_not_what_it_says_is_no_backup(checkout: Checkout) -> None:
    content = dump({"messages": DOCUMENT * 100}, parts=1)
    digest = hashlib.sha256(DOCUMENT * 100).hexdigest().encode()
    checkout.data(content.replace(digest, digest[::-1]))
    checkout.fails("backup.broken")


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
    checkout.fails("backup.not_written")


def test_a_worker_of_before_is_told_apart(checkout: Checkout) -> None:
    said = "usage: chatproxy\n__main__.py: error: argument family: invalid choice: 'data' (choose from 'keys')\n"
    checkout.plan(dump_status=2, dump_says=said, cut=0)
    checkout.fails("backup.worker_old")


def test_a_full_disk_is_told_before_anything_is_read(checkout: Checkout) -> None:
    checkout.older(OLD)
    checkout.plan(du=str(2**40))
    assert "BACKUP_DIR" in checkout.fails("backup.no_space")
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
        assert "untouched" in checkout.fails("backup.no_space")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_folder_that_cannot_be_made_is_told(checkout: Checkout) -> None:
    checkout.put("file", "")
    checkout.settings(BACKUP_DIR="file/backups")
    checkout.fails("backup.not_written")


def test_settings_that_cannot_be_used_are_told(checkout: Checkout, tmp_path: Path) -> None:
    checkout.settings(BACKUP_KEEP="seven")
    checkout.fails("setting.invalid")
    checkout.settings(BACKUP_PASSWORD_FILE=str(tmp_path / "none"))
    checkout.fails("backup.password_unreadable")
    checkout.settings(BACKUP_REMOTE="restic:/srv/repository")
    checkout.fails("backup.password_missing")
    checkout.settings(SMTP_PASSWORD_FILE=str(tmp_path / "none"))
    checkout.fails("backup.files_unreadable")


def test_a_missing_volume_of_certificates_is_told_and_not_made(checkout: Checkout) -> None:
    checkout.plan(volume=1)
    checkout.fails("volume.missing")
    assert not [call for call in checkout.calls() if call.startswith("run ")]


def test_an_appliance_that_never_was_set_up_is_told(checkout: Checkout) -> None:
    (checkout.folder / ".appliance" / "resolved.env").unlink()
    checkout.fails("appliance.not_set_up")


def test_a_proxy_that_cannot_be_told_leaves_the_archive_and_says_so(checkout: Checkout) -> None:
    checkout.plan(done_status=1, done_says="backup.storage_unavailable: MongoDB is away\n")
    status, out, err = checkout.run()
    assert status == 1 and "backup.not_recorded" in err
    assert archive.verify(checkout.archives / checkout.names()[0]) and checkout.names()[0] in out


def test_the_expected_size_is_the_last_ones(checkout: Checkout) -> None:
    """Once there is one, nothing has to be asked inside the containers."""
    assert checkout.run()[0] == 0
    checkout.plan(du=str(2**40))
    assert checkout.run()[0] == 0
