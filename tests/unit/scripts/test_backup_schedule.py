"""Backups by themselves: what cron is told, and that what it is told works."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lib import backup_schedule, paths, shell
from tests.unit.scripts.backup_checkout import Checkout

needs_cron = pytest.mark.skipif(shell.which("cron") is None or os.geteuid() != 0, reason="needs Debian's cron, as root")


@pytest.fixture
def cron() -> Iterator[None]:
    """Whether cron runs is as before afterwards."""
    ran = backup_schedule.running()
    yield
    if not ran and backup_schedule.running():
        os.kill(int(Path("/run/crond.pid").read_text()), signal.SIGTERM)


def command_of(text: str) -> str:
    """The command in the last line, as cron passes it to the shell."""
    return text.splitlines()[-1].split(None, 6)[6].replace(r"\%", "%")


def test_the_file_says_when_as_whom_and_what() -> None:
    lines = backup_schedule.text("daily 03:30", Path("/srv/chat"), "anna").splitlines()
    assert lines[0].startswith("# Made by `make up`")
    assert lines[-1].startswith("30 3 * * * anna cd /srv/chat && ")
    assert "flock -n" in lines[-1] and "scripts/backup" in lines[-1]
    assert any(line.startswith("PATH=") and "/usr/sbin" in line for line in lines)


def test_names_that_cron_would_not_read_are_changed() -> None:
    assert backup_schedule.file_of("my.chat").name == "my-chat-backup"


def test_the_command_backs_up_also_from_a_folder_with_an_awkward_name(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "100% of 'it'")
    path = f"{checkout.folder / 'bin'}:{os.environ['PATH']}"
    command = command_of(backup_schedule.text("hourly", checkout.folder, "root"))
    done = subprocess.run(["/bin/sh", "-c", command], env={"PATH": path, "HOME": "/root"}, check=False)
    logged = (checkout.folder / ".appliance" / "logs" / "backup-scheduled.log").read_text()
    assert done.returncode == 0, logged
    assert len(checkout.names()) == 1 and checkout.names()[0] in logged
    assert checkout.attempt()["scheduled"]


def test_one_that_is_still_at_work_is_left_alone(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "appliance")
    command = command_of(backup_schedule.text("hourly", checkout.folder, "root"))
    with (checkout.folder / ".appliance" / "backup-scheduled.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert subprocess.run(["/bin/sh", "-c", command], check=False).returncode == 1
    assert checkout.names() == []


@needs_cron
@pytest.mark.usefixtures("cron")
def test_it_is_written_kept_changed_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "cron.d"
    folder.mkdir()
    assert backup_schedule.trouble("hourly", "chatbot", folder)
    assert backup_schedule.apply("hourly", "chatbot", folder)
    file = folder / "chatbot-backup"
    assert file.stat().st_mode & 0o777 == 0o644 and file.stat().st_uid == 0
    assert backup_schedule.since("chatbot", folder)
    assert backup_schedule.running() and backup_schedule.trouble("hourly", "chatbot", folder) == ""
    assert not backup_schedule.apply("hourly", "chatbot", folder)
    assert backup_schedule.trouble("daily 03:30", "chatbot", folder)
    assert backup_schedule.apply("daily 03:30", "chatbot", folder) and "30 3 * * *" in file.read_text()
    assert backup_schedule.apply("off", "chatbot", folder) and not file.exists()
    assert not backup_schedule.apply("off", "chatbot", folder)
    assert backup_schedule.trouble("off", "chatbot", folder) == ""


def test_another_checkouts_file_is_not_removed(tmp_path: Path) -> None:
    file = tmp_path / "chatbot-backup"
    file.write_text(backup_schedule.text("hourly", Path("/srv/another"), "root"))
    assert str(paths.ROOT) not in file.read_text()
    assert not backup_schedule.remove("chatbot", tmp_path) and file.exists()
    assert backup_schedule.trouble("hourly", "chatbot", tmp_path)


def test_a_cron_that_does_not_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chatbot-backup").write_text(backup_schedule.text("hourly", user="root"))
    for content in ("", "x", "999999999", str(os.getpid())):
        (tmp_path / "pid").write_text(content)
        monkeypatch.setattr(backup_schedule, "_PID", tmp_path / "pid")
        assert backup_schedule.trouble("hourly", "chatbot", tmp_path) == "cron does not run"
