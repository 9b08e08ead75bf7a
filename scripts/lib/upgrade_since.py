"""What the operator edited after an upgrade had put its files into force, kept aside before it is led back over them.

A killed upgrade may be found days later, with files that were edited since; one that is led back at once leaves minutes
for that too. Nobody but who made such edits can bring them together with the version of before.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.lib import log, paths, upgrade_git
from scripts.lib.failure import Failure
from scripts.lib.upgrade_git import Repository

_ENV = ".env"


@dataclass(frozen=True)
class Versions:
    """What an upgrade leads from and to.

    old, new:      commits
    before, next:  folders with .env as it was, and with the new version as it was prepared
    patch:         what had been edited in `old`
    room:          a folder that need not be there, for a checkout of `old` while both are compared
    """

    old: str
    new: str
    before: Path
    next: Path
    patch: Path
    room: Path


def keep(repository: Repository, versions: Versions) -> Path | None:
    """Copy aside what the way back would overwrite or remove, and what is nowhere else.

    That is each file that is neither as the upgrade left it, nor as it will be, nor as it is on the way from one to the
    other; .env among them. A commit that was made since keeps its place as a branch. Returns the folder; None where
    nothing had to be kept. May be killed and repeated. Failure `upgrade.edits_not_kept` where it cannot: nothing was
    overwritten then.
    """
    try:
        _keep_commit(repository, versions)
        edited = _edited(repository, versions)
        if not edited:
            return None
        folder = _folder()
        for name in edited:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _copy(repository.folder / name, folder / name)
    except (OSError, Failure) as error:
        reason = error.fact if isinstance(error, Failure) else str(error)
        fact = f"files that were edited since the upgrade began could not be looked for, or not be kept: {reason}"
        hint = "mend that, then `make up`; nothing was overwritten"
        raise Failure("upgrade.edits_not_kept", fact, hint) from error
    fact = f"edited since the upgrade began, and kept in {folder}: {', '.join(edited)}"
    log.warn(f"upgrade.edits_kept: {fact} -> compare them with the files here, and make those edits once more")
    return folder


def _keep_commit(repository: Repository, versions: Versions) -> None:
    here = repository.current()
    if here.commit not in (versions.old, versions.new):
        branch = f"since-upgrade-{here.commit[:10]}"
        repository.mark(branch, here.commit)
        fact = f"{here} was committed since the upgrade began, and is the branch {branch} from here on"
        log.warn(f"upgrade.commit_kept: {fact} -> `git log {branch}` shows it")


def _edited(repository: Repository, versions: Versions) -> list[str]:
    names = repository.names(versions.old) | repository.names(versions.new) | repository.indexed()
    names |= set(repository.touched_by(versions.patch))
    edited = _apart(repository.folder, versions.next, names)
    # As a rule nothing is left by now.
    if edited:
        edited = _on_no_way(repository, versions, edited)
    env = repository.folder / _ENV
    if env.exists() and not any(_alike(env, folder / _ENV) for folder in (versions.before, versions.next)):
        edited.append(_ENV)
    return sorted(edited)


def _on_no_way(repository: Repository, versions: Versions, names: list[str]) -> list[str]:
    """Those as which neither version has them, with the edits or without: git, killed, leaves a mixture of all that."""
    shutil.rmtree(versions.room, ignore_errors=True)
    try:
        there = upgrade_git.copy(repository.folder, repository.version(versions.old), versions.room)
        names = _apart(repository.folder, versions.room, names)
        there.apply(versions.patch, "--whitespace=nowarn")
        names = _apart(repository.folder, versions.room, names)
        there.go_to(versions.new)
        return _apart(repository.folder, versions.room, names)
    finally:
        shutil.rmtree(versions.room, ignore_errors=True)


def _apart(folder: Path, other: Path, names: Iterable[str]) -> list[str]:
    """Those of the names that are in `folder`, and not the same in the other one."""
    return [name for name in names if os.path.lexists(folder / name) and not _alike(folder / name, other / name)]


def _alike(one: Path, other: Path) -> bool:
    # .env may be a link here, and is read and written through it.
    if one.name != _ENV and (one.is_symlink() or other.is_symlink()):
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def _folder() -> Path:
    """A new one each time, so that nothing that was kept is ever written over."""
    name = time.strftime("edited-since-upgrade-%Y%m%dT%H%M%SZ", time.gmtime())
    number = 1
    while (folder := paths.STATE / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    folder.mkdir(mode=0o700)
    return folder


def _copy(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=source.name == _ENV)
