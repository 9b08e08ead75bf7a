"""What `make status` and `make doctor` say about backups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from scripts.lib import backup_schedule, backup_store, backup_times, log, paths
from scripts.lib.backup_store import Attempt, Kept, Store
from scripts.lib.findings import ERROR, WARNING, Finding
from scripts.lib.settings import SETTINGS, Settings

# Where none are scheduled; as the console and Prometheus have it.
_OLD = timedelta(days=7)
# A scheduled one may wait for another command, and takes its time.
_GRACE = timedelta(hours=2)


@dataclass(frozen=True)
class Look:
    """What is known: archives (the newest first), the last attempt, the schedule, what is wrong ("" for nothing), and
    since when the schedule stands as it does."""

    archives: list[Kept]
    attempt: Attempt | None
    schedule: str
    schedule_trouble: str = ""
    folder_trouble: str = ""
    place: Path = paths.STATE
    password_exposed: str = ""
    scheduled_since: datetime | None = None

    @property
    def newest(self) -> datetime | None:
        """When the newest archive was made, also where it lies elsewhere (TO=)."""
        made = [kept.made_at for kept in self.archives[:1]]
        if self.attempt and self.attempt.archive:
            made.append(self.attempt.at)
        return max(made, default=None)


def look(wanted: Settings, project: str) -> Look:
    """Read all of it; changes nothing."""
    schedule = (
        wanted["BACKUP_SCHEDULE"] if SETTINGS["BACKUP_SCHEDULE"].check(wanted["BACKUP_SCHEDULE"]) is None else "off"
    )
    store = Store(backup_store.folder(wanted), project)
    archives, trouble = [], ""
    try:
        archives = store.archives()
    except OSError as error:
        trouble = f"{store.place} cannot be read: {error.strerror}"
    return Look(
        archives,
        backup_store.last(),
        schedule,
        backup_schedule.trouble(schedule, project),
        trouble,
        store.place,
        _exposed(wanted["BACKUP_PASSWORD_FILE"]),
        backup_schedule.since(project),
    )


def _exposed(setting: str) -> str:
    path = paths.ROOT / Path(setting).expanduser()
    try:
        return str(path) if setting and path.stat().st_mode & 0o077 else ""
    except OSError:
        return ""


def judge(seen: Look, now: datetime | None = None) -> Iterator[Finding]:
    """The findings; `now` with its zone, in the machine's own time, as cron reckons."""
    moment = now or datetime.now().astimezone()
    by_itself = "BACKUP_SCHEDULE='daily 03:30' in .env and `make up` have it made by itself"
    if seen.folder_trouble:
        yield Finding(
            "backup.folder_unreadable", ERROR, seen.folder_trouble, "correct BACKUP_DIR in .env, or run as root"
        )
    if seen.schedule_trouble:
        fact = f"BACKUP_SCHEDULE={seen.schedule} is set, but {seen.schedule_trouble}"
        yield Finding("backup.not_scheduled", ERROR, fact, "`make up` mends it")
    yield from _last_attempt(seen.attempt)
    if seen.password_exposed:
        fact = f"the backups' password can be read by others: {seen.password_exposed}"
        yield Finding("backup.password_exposed", WARNING, fact, f"`chmod 600 {seen.password_exposed}`")
    for kept in seen.archives:
        if kept.changed:
            fact = f"{kept.path} is no longer as it was when it was verified"
            yield Finding(
                "backup.changed", WARNING, fact, "`make backups CHECK=1` reads all archives; remove a broken one"
            )
    if seen.newest is None:
        if not seen.folder_trouble:
            yield Finding("backup.none", WARNING, "there is no backup", f"`make backup` makes one; {by_itself}")
        return
    age = moment - seen.newest
    limit = _allowed(seen, moment)
    if age > limit:
        hint = f"`make backup`, and read {backup_schedule.LOG}" if seen.schedule != backup_times.OFF else by_itself
        fact = f"the last backup is {log.duration(age.total_seconds())} old"
        yield Finding("backup.old", WARNING if seen.schedule == backup_times.OFF else ERROR, fact, hint)


def _last_attempt(attempt: Attempt | None) -> Iterator[Finding]:
    if attempt is None or attempt.running:
        return
    which = "scheduled backup" if attempt.scheduled else "backup"
    logged = f"; its output is in {backup_schedule.LOG}" if attempt.scheduled else ""
    if not attempt.ended:
        fact = f"the last {which}, begun {attempt.begun}, was broken off"
        yield Finding("backup.failed", ERROR, fact, f"`make backup` makes one now{logged}")
    elif attempt.trouble:
        fact = f"the last {which}, begun {attempt.begun}, failed: {attempt.trouble}"
        yield Finding("backup.failed", ERROR, fact, f"mend it, then `make backup`{logged}")


def _allowed(seen: Look, now: datetime) -> timedelta:
    """How old the newest may be: made when one was due last."""
    local = now.replace(tzinfo=None)
    due = backup_times.last_due(seen.schedule, local - _GRACE)
    if due is None:
        return _OLD
    since = seen.scheduled_since
    if since and due < since.astimezone(now.tzinfo).replace(tzinfo=None):
        # Nobody was to make it then.
        return max(_OLD, local - due)
    # A change to or from summer time takes an hour.
    return local - due + timedelta(hours=1)


def line(seen: Look, now: datetime | None = None) -> str:
    """What `make status` shows behind the word backup."""
    moment = now or datetime.now(timezone.utc)
    if seen.newest is None:
        told = "none yet"
    else:
        told = f"{log.duration((moment - seen.newest).total_seconds())} old"
        if seen.archives:
            all_bytes = sum(kept.size for kept in seen.archives)
            told += f", {len(seen.archives)} in {seen.place} ({log.size(all_bytes)})"
    schedule = "none scheduled" if seen.schedule == backup_times.OFF else seen.schedule
    return f"{told}; {schedule}"


def word(findings: list[Finding]) -> str:
    """The state in one word: of the worst finding, without its family."""
    worst = next(iter(sorted(findings, key=lambda finding: finding.level != ERROR)), None)
    return worst.id.partition(".")[2].replace("_", " ") if worst else "ok"
