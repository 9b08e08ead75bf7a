"""What `make status` and `make doctor` say about backups."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from scripts.lib import backup_examine, backup_store
from scripts.lib.backup_examine import Look
from scripts.lib.backup_store import Attempt, Kept, Note, Store
from scripts.lib.findings import ERROR, WARNING

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
HOURS = timedelta(hours=1)


def kept(age: timedelta, **changes: object) -> Kept:
    fields = {"size": 10, "encrypted": False, "note": Note(10, 1), "changed": False, **changes}
    return Kept(Path("/b/chatbot-x.tar"), NOW - age, **fields)  # type: ignore[arg-type]


def attempt(**changes: object) -> Attempt:
    fields = {"begun": "2026-11-22T03:30:00Z", "ended": "2026-11-22T03:31:00Z", "archive": "", **changes}
    return Attempt(**fields)  # type: ignore[arg-type]


def found(*archives: Kept, schedule: str = "off", **changes: object) -> dict[str, str]:
    look = Look(list(archives), schedule=schedule, **{"attempt": None, **changes})  # type: ignore[arg-type]
    findings = list(backup_examine.judge(look, NOW))
    assert all(finding.hint for finding in findings)
    return {finding.id: finding.level for finding in findings}


def test_a_fresh_backup_needs_no_words() -> None:
    assert found(kept(3 * HOURS)) == {}
    assert found(kept(3 * HOURS), schedule="daily 03:30", attempt=attempt(archive="/b/a")) == {}


def test_none_at_all_is_told() -> None:
    assert found() == {"backup.none": WARNING}


@pytest.mark.parametrize(
    ("schedule", "age", "level"),
    [
        ("off", timedelta(days=6, hours=23), None),
        ("off", timedelta(days=7, hours=1), WARNING),
        # Due at 03:30: 8 hours and a half ago.
        ("daily 03:30", 8.5 * HOURS, None),
        ("daily 03:30", 9 * HOURS, None),
        ("daily 03:30", 32 * HOURS, ERROR),
        # Due at 11:00 again, which may still be at work: the one of the day before counts.
        ("daily 11:00", 24 * HOURS, None),
        ("daily 11:00", 48 * HOURS, ERROR),
        ("hourly", 2.7 * HOURS, None),
        ("hourly", 5 * HOURS, ERROR),
        ("0 0 1 * *", timedelta(days=21), None),
        ("0 0 1 * *", timedelta(days=23), ERROR),
    ],
)
def test_one_is_old_when_a_later_one_was_due(schedule: str, age: timedelta, level: str | None) -> None:
    assert found(kept(age), schedule=schedule).get("backup.old") == level


def test_what_was_not_scheduled_yet_was_not_due() -> None:
    assert found(kept(40 * HOURS), schedule="daily 03:30", scheduled_since=NOW - HOURS) == {}
    assert found(kept(40 * HOURS), schedule="daily 03:30", scheduled_since=NOW - 20 * HOURS) == {"backup.old": ERROR}


def test_a_failed_one_is_told_until_one_goes_well() -> None:
    bad = attempt(trouble="backup.no_space: the disk is full", scheduled=True)
    assert found(kept(HOURS), attempt=bad) == {"backup.failed": ERROR}
    (finding,) = backup_examine.judge(Look([kept(HOURS)], bad, "off"), NOW)
    assert "the disk is full" in finding.fact and "scheduled" in finding.fact and "backup-scheduled.log" in finding.hint


def test_one_that_was_killed_is_told_and_one_at_work_is_not(tmp_path: Path) -> None:
    assert found(kept(HOURS), attempt=attempt(ended="", pid=2**30)) == {"backup.failed": ERROR}
    assert found(kept(HOURS), attempt=attempt(ended="", pid=os.getppid())) == {"backup.failed": ERROR}
    at_work = [sys.executable, "-c", "print('here', flush=True); input()", "/srv/chat/scripts/backup"]
    with subprocess.Popen(at_work, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
        # The kernel tells its command line a moment after it is there.
        assert one.stdout is not None and one.stdout.readline()
        assert found(kept(HOURS), attempt=attempt(ended="", pid=one.pid)) == {}
    file = tmp_path / "backup.json"
    assert backup_store.last(file) is None
    begun = backup_store.begin(scheduled=True, file=file)
    assert backup_store.last(file) == begun and not begun.ended
    backup_store.end(begun, archive="/b/a", file=file)
    last = backup_store.last(file)
    assert last and last.ended and last.archive == "/b/a" and not last.running
    for damaged in ("", "[]", "{}", '{"begun": "yesterday"}'):
        file.write_text(damaged)
        assert backup_store.last(file) is None


def test_a_schedule_that_does_not_work_is_an_error() -> None:
    assert found(kept(HOURS), schedule="hourly", schedule_trouble="cron does not run") == {
        "backup.not_scheduled": ERROR
    }


def test_a_changed_archive_and_an_open_password_are_told() -> None:
    assert found(kept(HOURS, changed=True)) == {"backup.changed": WARNING}
    assert found(kept(HOURS), password_exposed="/root/p") == {"backup.password_exposed": WARNING}
    assert found(folder_trouble="/b cannot be read") == {"backup.folder_unreadable": ERROR}


def test_one_that_lies_elsewhere_counts() -> None:
    assert found(attempt=attempt(archive="/mnt/usb/chatbot.tar")) == {}


def test_the_line_of_status() -> None:
    look = Look([kept(3 * HOURS, size=2**20), kept(40 * HOURS, size=2**20)], None, "daily 03:30", place=Path("/b"))
    assert backup_examine.line(look, NOW) == "3 h 00 min old, 2 in /b (2.0 MB); daily 03:30"
    assert backup_examine.line(Look([], None, "off"), NOW) == "none yet; none scheduled"
    assert backup_examine.word([]) == "ok"
    assert backup_examine.word(list(backup_examine.judge(Look([], None, "off"), NOW))) == "none"


def test_the_store_tells_ours_from_others_and_notices_a_change(tmp_path: Path) -> None:
    store = Store(tmp_path / "none", "chatbot")
    assert store.archives() == []
    store = Store(tmp_path, "chatbot")
    for name in ("chatbot-20260101T000000Z.tar", "chatbot-20260102T000000Z.tar.gpg", "photos.tar"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "chatbot-20260103T000000Z.tar").symlink_to("photos.tar")
    newest, oldest = store.archives()
    assert newest.encrypted and not oldest.encrypted and not newest.verified
    store.note(oldest.path, 1)
    assert store.archives()[1].verified
    store.sent(oldest.path, "rclone:x:")
    note = store.archives()[1].note
    assert note and note.remote == "rclone:x:" and note.sent_at
    oldest.path.write_bytes(b"xy")
    assert store.archives()[1].changed and not store.archives()[1].verified
    (tmp_path / ".chatbot-backups.json").write_text("damaged")
    assert [each.note for each in store.archives()] == [None, None]
