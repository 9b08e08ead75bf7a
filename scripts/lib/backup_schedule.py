"""Backups by themselves: a file in /etc/cron.d, made from BACKUP_SCHEDULE by `make up`, taken away by `make down`."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from scripts.lib import apt, backup_times, log, paths, shell
from scripts.lib.failure import Failure

_FOLDER = Path("/etc/cron.d")
_PID = Path("/run/crond.pid")
LOG = paths.LOGS / "backup-scheduled.log"
# What scripts/backup is told by: it waits for other commands then, and says so in what it writes down.
SCHEDULED = "SCHEDULED"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def file_of(project: str, folder: Path = _FOLDER) -> Path:
    """Cron reads files of such names alone: letters, digits, - and _."""
    return folder / f"{re.sub(r'[^A-Za-z0-9_-]', '-', project)}-backup"


def text(schedule: str, root: Path = paths.ROOT, user: str = "") -> str:
    """What stands in that file. `schedule` is a good one, and not `off`."""
    lock, log_file = root / ".appliance" / "backup-scheduled.lock", root / LOG.relative_to(paths.ROOT)
    # One that is still at work when the next is due goes on alone. The log is of the last run.
    command = (
        f"cd {shlex.quote(str(root))} && mkdir -p {shlex.quote(str(log_file.parent))} && {SCHEDULED}=1 "
        f"flock -n {shlex.quote(str(lock))} scripts/backup >{shlex.quote(str(log_file))} 2>&1"
    )
    # A % would be the end of the line for cron.
    command = command.replace("%", r"\%")
    return (
        f"# Made by `make up` from BACKUP_SCHEDULE={schedule}; changes here are overwritten.\n"
        f"SHELL=/bin/sh\nPATH={_PATH}\n"
        f"{backup_times.cron(schedule)} {user or pwd.getpwuid(os.geteuid()).pw_name} {command}\n"
    )


def apply(schedule: str, project: str, folder: Path = _FOLDER) -> bool:
    """Have cron do as BACKUP_SCHEDULE says. True when something changed; Failure backup.not_scheduled."""
    file = file_of(project, folder)
    if schedule == backup_times.OFF:
        return remove(project, folder)
    if not shell.which("cron"):
        log.step("installing cron, for backups by themselves")
        apt.update()
        apt.install(["cron"])
    _start()
    wanted = text(schedule)
    if _read(file) == wanted:
        return False
    # Cron ignores a file that others than root may write.
    _as_root(["install", "-m", "0644", "-o", "root", "-g", "root", "/dev/stdin", str(file)], wanted)
    return True


def keep_up(schedule: str, project: str) -> None:
    """The same for `make up`, which is not to fail by it: `make doctor` goes on saying so."""
    try:
        if apply(schedule, project):
            log.ok(f"backups by themselves: {schedule}")
    except Failure as failure:
        log.warn(f"{failure.id}: {failure.fact} -> {failure.hint}")


def remove(project: str, folder: Path = _FOLDER) -> bool:
    """No more backups by themselves. True when there were."""
    file = file_of(project, folder)
    # Another checkout's of the same name stays.
    if str(paths.ROOT) not in _read(file):
        return False
    _as_root(["rm", "-f", "--", str(file)])
    return True


def trouble(schedule: str, project: str, folder: Path = _FOLDER) -> str:
    """Why backups will not come by themselves although they should; "" where they will, or should not."""
    if schedule == backup_times.OFF:
        return ""
    file = file_of(project, folder)
    if backup_times.cron(schedule) not in _read(file) or str(paths.ROOT) not in _read(file):
        return f"{file} is not there, or says something else"
    return "" if running() else "cron does not run"


def since(project: str, folder: Path = _FOLDER) -> datetime | None:
    """Since when cron is told what it is told now; None where it is told nothing."""
    try:
        return datetime.fromtimestamp(file_of(project, folder).stat().st_mtime, timezone.utc)
    except OSError:
        return None


def running() -> bool:
    """Whether cron's daemon is there: by the file in which it keeps its process id, locked, for that purpose."""
    try:
        return Path(f"/proc/{int(_PID.read_text(encoding='ascii'))}/comm").read_text(encoding="utf-8").strip() == "cron"
    except (OSError, ValueError):
        return False


def _start() -> None:
    if running():
        return
    systemd = Path("/run/systemd/system").is_dir()
    way = ["systemctl", "enable", "--now", "cron"] if systemd else ["service", "cron", "start"]
    status, _, err = shell.capture(shell.as_root(way), timeout=60)
    if status != 0:
        fact = f"cron could not be started: {(err.strip().splitlines() or ['no reason given'])[-1]}"
        raise Failure("backup.not_scheduled", fact, f"`{shlex.join(way)}` says why; then `make up` again")


def _as_root(command: list[str], given: str = "") -> None:
    done = subprocess.run(shell.as_root(command), input=given, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        fact = f"backups cannot be scheduled: {done.stderr.strip()}"
        raise Failure("backup.not_scheduled", fact, "run `sudo make up`")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
