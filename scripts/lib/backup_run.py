"""A whole run of `make backup`: the archive, and what follows on it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scripts.lib import backup_make, backup_remote, backup_store, log, paths
from scripts.lib.backup_make import Made
from scripts.lib.backup_sources import Appliance
from scripts.lib.backup_store import Store
from scripts.lib.failure import Failure
from scripts.lib.settings import SETTINGS, Settings

_NAMES = tuple(name for name in SETTINGS if name.startswith("BACKUP_"))


def run(appliance: Appliance, wanted: Settings, *, to: str = "", scheduled: bool = False) -> tuple[Made, list[Failure]]:
    """Make a backup, and note how it went. The caller holds the lock (cli.exclusive).

    Returns the archive, and what went wrong after it was there: it was not told to the proxy, or not sent off-site.
    Failure where there is no archive. `to` is a folder for a single one, which is neither
    rotated nor sent anywhere.
    """
    attempt = backup_store.begin(scheduled=scheduled)
    try:
        check(wanted)
        place = paths.ROOT / Path(to).expanduser() if to else backup_store.folder(wanted)
        store = Store(place, appliance.project)
        made = backup_make.make(appliance, wanted, store)
    except Failure as failure:
        backup_store.end(attempt, trouble=f"{failure.id}: {failure.fact}")
        raise
    except KeyboardInterrupt:
        backup_store.end(attempt, trouble="it was interrupted")
        raise
    troubles: list[Failure] = []
    try:
        for step in _following(appliance, wanted, store, made, alone=bool(to)):
            try:
                step()
            except Failure as failure:
                troubles.append(failure)
    finally:
        told = "; ".join(f"{failure.id}: {failure.fact}" for failure in troubles)
        backup_store.end(attempt, archive=str(made.path), trouble=told)
    return made, troubles


def _following(
    appliance: Appliance, wanted: Settings, store: Store, made: Made, *, alone: bool
) -> list[Callable[[], None]]:
    steps: list[Callable[[], None]] = [lambda: backup_make.record(appliance, made)]
    if alone:
        return steps
    return [
        *steps,
        lambda: backup_make.rotate(store, wanted["BACKUP_KEEP"], made),
        lambda: _send(wanted, store, made),
    ]


def _send(wanted: Settings, store: Store, made: Made) -> None:
    remote = backup_remote.named(wanted, store.project)
    if remote is None:
        return
    log.step(f"off-site: {wanted['BACKUP_REMOTE']}")
    remote.send(made.path)
    with suppress(OSError):
        store.sent(made.path, wanted["BACKUP_REMOTE"])
    log.ok(f"{made.path.name} is there too")
    try:
        remote.rotate()
    except Failure as failure:
        # It may be meant so: who breaks in here is not to delete there.
        log.warn(f"{failure.id}: {failure.fact} -> have the place itself remove what is old, or let this machine do it")


def check(wanted: Settings) -> None:
    """Failure for a setting of backups that cannot be used; `make up` tells of them too, but may be long ago."""
    for name in _NAMES:
        wrong = SETTINGS[name].check(wanted[name])
        if wrong:
            raise Failure("setting.invalid", f"{name}={wanted[name]} {wrong}", f"correct {name} in .env")
    if wanted["BACKUP_REMOTE"].startswith("restic:") and not wanted["BACKUP_PASSWORD_FILE"]:
        fact = "a restic repository needs a password"
        hint = "set BACKUP_PASSWORD_FILE in .env to a file that holds one, and keep a copy of it elsewhere"
        raise Failure("backup.password_missing", fact, hint)
