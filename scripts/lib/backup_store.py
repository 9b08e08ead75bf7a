"""The folder with the archives, what is known of each, and how the last attempt to make one ended.

In the folder, .PROJECT-backups.json: by archive its size and mtime_ns when it was verified, its largest member, and
where it was sent. In .appliance/backup.json: the last attempt.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scripts.lib import backup_keep, dotenv, paths
from scripts.lib.settings import Settings

# Below BACKUP_DIR: what `make upgrade` has made before it stopped anything. Apart from the others, which are rotated:
# tonight's, of the new version, would take its place.
BEFORE_UPGRADES = "before-upgrades"
_ATTEMPT = paths.STATE / "backup.json"
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_NOTES_LIMIT = 16 * 2**20


def now() -> datetime:
    """UTC, in whole seconds, as archives are dated."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def folder(wanted: Settings) -> Path:
    """BACKUP_DIR; a relative one counts from this folder."""
    return paths.ROOT / Path(wanted["BACKUP_DIR"]).expanduser()


@dataclass(frozen=True)
class Note:
    """What is known of an archive since it was verified: sizes in bytes, `remote` as BACKUP_REMOTE names the place."""

    size: int
    mtime_ns: int
    largest: int = 0
    remote: str = ""
    sent_at: str = ""


@dataclass(frozen=True)
class Kept:
    """An archive that lies in the folder."""

    path: Path
    made_at: datetime
    size: int
    encrypted: bool
    note: Note | None
    changed: bool

    @property
    def verified(self) -> bool:
        """Read back whole when it was made here, and neither size nor time has changed since."""
        return self.note is not None and not self.changed


class Store:
    """The archives of one project in one folder."""

    def __init__(self, place: Path, project: str) -> None:
        self.place, self.project = place, project
        self._notes = place / f".{project}-backups.json"

    def archives(self) -> list[Kept]:
        """The newest first; [] where there is no such folder. OSError for one that cannot be read."""
        notes = self.notes()
        return sorted(self._archives(notes), key=lambda kept: kept.made_at, reverse=True)

    def _archives(self, notes: Mapping[str, Note]) -> Iterator[Kept]:
        if not self.place.is_dir():
            return
        for path in self.place.iterdir():
            made_at = backup_keep.moment_of(self.project, path.name)
            if made_at is None or path.is_symlink() or not path.is_file():
                continue
            state, note = path.stat(), notes.get(path.name)
            changed = note is not None and (note.size, note.mtime_ns) != (state.st_size, state.st_mtime_ns)
            yield Kept(path, made_at, state.st_size, path.suffix == ".gpg", note, changed)

    def notes(self) -> dict[str, Note]:
        """{archive: Note}; empty where there are none, or they cannot be read."""
        try:
            told = json.loads(_own_text(self._notes))
            return {str(name): Note(**fields) for name, fields in told.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def note(self, path: Path, largest: int) -> None:
        """`path` was verified just now."""
        state = path.stat()
        self._put(path.name, Note(state.st_size, state.st_mtime_ns, largest))

    def sent(self, path: Path, remote: str) -> None:
        """`path` lies off-site too."""
        note = self.notes().get(path.name)
        if note:
            self._put(path.name, replace(note, remote=remote, sent_at=now().strftime(_FORMAT)))

    def _put(self, name: str, note: Note) -> None:
        notes = {known: each for known, each in self.notes().items() if (self.place / known).exists()} | {name: note}
        text = json.dumps({known: asdict(notes[known]) for known in sorted(notes)}, indent=1)
        dotenv.write_private(self._notes, text + "\n", follow=False)

    def remove_drafts(self) -> list[str]:
        """Away with what a killed backup left; nobody else makes one now. Returns the names."""
        drafts = [path for path in self.place.glob(f".{self.project}-*.part") if self.is_draft(path.name)]
        for path in drafts:
            path.unlink(missing_ok=True)
        return [path.name for path in drafts]

    def is_draft(self, name: str) -> bool:
        """Whether `draft_of` gave this name: another project's may begin with the same word."""
        whole = name.removeprefix(".").removesuffix(".part")
        return name == f".{whole}.part" and backup_keep.moment_of(self.project, whole) is not None

    def draft_of(self, name: str) -> Path:
        """Where the archive of that name lies until it is whole."""
        return self.place / f".{name}.part"

    def keep_newest(self, count: int) -> None:
        """Away with all but the newest so many."""
        for kept in self.archives()[count:]:
            kept.path.unlink(missing_ok=True)

    def remove_superfluous(self, rules: str, spared: Path) -> list[str]:
        """Rotate by BACKUP_KEEP; `spared` stays whatever the rules say. Returns the names."""
        gone = backup_keep.superfluous(self.project, [kept.path.name for kept in self.archives()], rules)
        gone = [name for name in gone if name != spared.name]
        for name in gone:
            (self.place / name).unlink(missing_ok=True)
        return gone


def _own_text(path: Path) -> str:
    """What a file says that this user, root or the folder's owner has written; OSError for everybody else's.

    The folder may be one that others write to, as /tmp: a link there could lead anywhere, a pipe would never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, encoding="utf-8") as file:
        state = os.fstat(descriptor)
        known = {0, os.geteuid(), path.parent.stat().st_uid}
        if not stat.S_ISREG(state.st_mode) or state.st_uid not in known or state.st_size > _NOTES_LIMIT:
            raise PermissionError(errno.EPERM, "somebody else has made it", str(path))
        return file.read()


@dataclass(frozen=True)
class Attempt:
    """One run of `make backup`. ended "" while it runs, or where it was killed; trouble "" where all went well."""

    begun: str
    ended: str = ""
    archive: str = ""
    trouble: str = ""
    scheduled: bool = False
    pid: int = field(default_factory=os.getpid)

    @property
    def at(self) -> datetime:
        return datetime.strptime(self.begun, _FORMAT).replace(tzinfo=timezone.utc)

    @property
    def running(self) -> bool:
        """Whether the process that has not ended it yet is still there."""
        if self.ended:
            return False
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        # A process id comes again: this one has to be a command of ours.
        return any(re.search(rb"(^|/)scripts/[a-z-]+$", word) for word in words)


def begin(*, scheduled: bool, file: Path = _ATTEMPT) -> Attempt:
    """An attempt begins: written down first, so that one that is killed is seen."""
    attempt = Attempt(now().strftime(_FORMAT), scheduled=scheduled)
    _write(attempt, file)
    return attempt


def end(attempt: Attempt, *, archive: str = "", trouble: str = "", file: Path = _ATTEMPT) -> None:
    """It is over. Never an OSError: the disk may be what it failed by."""
    ended = replace(attempt, ended=now().strftime(_FORMAT), archive=archive, trouble=trouble)
    try:
        _write(ended, file)
    except OSError:
        # Then it stays one without an end, which is told as one that was broken off.
        return


def _write(attempt: Attempt, file: Path) -> None:
    dotenv.write_private(file, json.dumps(asdict(attempt), indent=1) + "\n")


def last(file: Path = _ATTEMPT) -> Attempt | None:
    """The latest attempt; None before the first."""
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        attempt = Attempt(**told)
        attempt.at  # noqa: B018  ValueError for no time
    except (OSError, ValueError, TypeError):
        return None
    return attempt
