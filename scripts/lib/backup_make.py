"""Making a backup: read everything while people chat, write it under a name that is none yet, read it back, and only
then call it an archive. Whatever happens on the way, the archives of before stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

from scripts.lib import archive, backup_gpg, backup_keep, backup_manifest, backup_sources, backup_store, log, paths
from scripts.lib.archive import ArchiveWriter
from scripts.lib.archive_tar import BrokenArchiveError
from scripts.lib.backup_sources import Appliance
from scripts.lib.backup_store import Store
from scripts.lib.download import error_is_no_space
from scripts.lib.failure import Failure
from scripts.lib.settings import Settings

_COMMAND = ("python3", "-m", "chatproxy", "data", "done")
# Settings, manifest, padding.
_MARGIN = 32 * 2**20
# The next archive may be larger than the last one.
_GROWTH = 1.25
# What MongoDB and Chroma hold is packed there already, less well than gzip does it; MongoDB's journal is no data.
_SIZES = {"mongo": "/data/db", "chroma": "/data"}
_SPACE_HINT = "free some, keep fewer archives (BACKUP_KEEP), or set BACKUP_DIR to a folder on another disk"


@dataclass(frozen=True)
class Made:
    """A new archive, already verified: its size in bytes, and how long making it took, in seconds."""

    path: Path
    size: int
    seconds: float
    archive: archive.Archive

    def __str__(self) -> str:
        rate = self.size / 2**20 / max(self.seconds, 0.001)
        of = "encrypted, " if self.archive.encrypted else ""
        told = f"{log.size(self.size)} in {log.duration(self.seconds)} ({rate:.1f} MB/s)"
        return f"{self.path}  {told}, {of}read back and verified"


def make(appliance: Appliance, wanted: Settings, store: Store) -> Made:
    """A new archive in the store. The caller holds the lock (cli.exclusive). Failure: then there is none.

    No archive of before is touched: what goes is `rotate`'s to say.
    """
    begun = time.monotonic()
    backup_sources.check_running(appliance)
    password_file = wanted["BACKUP_PASSWORD_FILE"]
    secret = backup_gpg.password(password_file)
    if secret:
        backup_gpg.ensure()
    _prepare(store)
    made_at = backup_store.now()
    taken = {kept.made_at for kept in store.archives()}
    while made_at in taken:
        made_at += timedelta(seconds=1)
    path = store.place / backup_keep.name_of(store.project, made_at, encrypted=bool(secret))
    # What is not encrypted yet does not leave this disk.
    spool = paths.STATE if secret else store.place
    _check_space(appliance, store, spool)
    draft = store.draft_of(path.name)
    try:
        with _errors(store.place), _created(draft) as file:
            with _packed(secret, file) as sink:
                writer = ArchiveWriter(sink, made_at)
                _fill(writer, appliance, wanted, spool)
                writer.finish(backup_manifest.manifest(appliance.project, wanted, made_at))
            file.flush()
            os.fsync(file.fileno())
            # Else it would be read back from memory.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        log.step("reading it back")
        found = archive.verify(draft, password_file, deep=True)
        _check_not_empty(found)
        draft.replace(path)
        _sync(store.place)
    finally:
        draft.unlink(missing_ok=True)
    store.note(path, max(member.bytes for member in found.members()))
    return Made(path, found.size, time.monotonic() - begun, replace(found, path=path))


def _prepare(store: Store) -> None:
    with _errors(store.place):
        store.place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in store.remove_drafts():
            log.info(f"removed {name}, which a backup that was broken off had left")


@contextlib.contextmanager
def _errors(place: Path) -> Iterator[None]:
    """What the disk refuses, as a Failure."""
    try:
        yield
    except OSError as error:
        if error_is_no_space(error):
            fact = f"the disk is full: the archive does not fit into {place}; those of before are untouched"
            raise Failure("backup.no_space", fact, _SPACE_HINT) from error
        fact = f"the archive cannot be written to {place}: {error.strerror or error}"
        raise Failure("backup.not_written", fact, "see that the folder is there and may be written to") from error
    except (BrokenArchiveError, EOFError) as error:
        fact = f"what came cannot be put into an archive: {error}"
        raise Failure("backup.not_written", fact, "make the backup again") from error


@contextlib.contextmanager
def _created(draft: Path) -> Iterator[BinaryIO]:
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file


@contextlib.contextmanager
def _packed(secret: str, file: BinaryIO) -> Iterator[BinaryIO]:
    if not secret:
        yield file
        return
    with backup_gpg.encrypting(secret, file) as pipe:
        yield cast(BinaryIO, pipe)


def _fill(writer: ArchiveWriter, appliance: Appliance, wanted: Settings, spool: Path) -> None:
    log.step("reading conversations, keys and knowledge; everything goes on meanwhile")
    sources = (
        backup_sources.data(appliance, spool),
        backup_sources.settings(wanted),
        backup_sources.certificates(appliance),
    )
    for source in sources:
        with contextlib.closing(source):
            told = time.monotonic()
            for name, size, content in source:
                writer.add(name, size, content)
                if time.monotonic() - told > 20:
                    log.info(f"{log.size(writer.length)} so far, now {name}")
                    told = time.monotonic()


def _check_not_empty(found: archive.Archive) -> None:
    """The dump refuses an empty store; what it sent is looked at all the same."""
    documents = sum(int(each.get("documents", 0)) for each in found.data["collections"].values())
    if not documents or not found.data.get("schema"):
        fact = "the database holds nothing: this would be a backup of an empty store"
        raise Failure("backup.store_empty", fact, "`make restore FROM=...` brings an older backup back")


def _check_space(appliance: Appliance, store: Store, spool: Path) -> None:
    """Failure where the new archive will hardly fit: half a backup would only take the space of the database."""
    size, largest = _expected(appliance, store)
    needs = {store.place: size}
    if store.place.stat().st_dev == spool.stat().st_dev:
        needs[store.place] += largest
    else:
        needs[spool] = largest
    for place, need in needs.items():
        state = os.statvfs(place)
        free = state.f_bavail * state.f_frsize
        if free < need + _MARGIN:
            fact = f"{place} has {log.size(free)} free, and the backup needs about {log.size(need + _MARGIN)}"
            raise Failure("backup.no_space", fact, _SPACE_HINT)


def _expected(appliance: Appliance, store: Store) -> tuple[int, int]:
    """(bytes of the archive, bytes of its largest member), as far as can be told beforehand."""
    for kept in store.archives():
        if kept.note and not kept.changed:
            return int(kept.size * _GROWTH), int(kept.note.largest * _GROWTH)
    total = 0
    for service, folder in _SIZES.items():
        words = ["du", "-sk", "--exclude=journal", "--exclude=diagnostic.data", folder]
        status, out, _ = appliance.run_in(service, words)
        total += int(out.split()[0]) * 1024 if status == 0 and out.split()[:1] and out.split()[0].isdigit() else 0
    return total, total


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def record(appliance: Appliance, made: Made) -> None:
    """Tell the proxy, whose console and metrics show the age. Failure where it could not be told."""
    at = made.archive.manifest.made_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    status, _, err = appliance.run_in("worker", [*_COMMAND, at])
    if status != 0:
        last = (err.strip().splitlines() or ["no reason given"])[-1]
        fact = f"the archive is there, but the console and the metrics still show the one before: {last}"
        raise Failure("backup.not_recorded", fact, "`make status` shows whether MongoDB and the worker run")


def rotate(store: Store, rules: str, made: Made) -> None:
    """Away with what BACKUP_KEEP does not keep; the new one stays in any case."""
    gone = store.remove_superfluous(rules, made.path)
    if gone:
        log.ok(f"BACKUP_KEEP={rules}: removed {', '.join(gone)}")
