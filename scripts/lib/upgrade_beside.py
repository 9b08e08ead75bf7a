"""The new version in a folder of its own, where its own `make up` makes everything that it needs, and starts nothing.

It has the operator's settings, keys and files, as copies, so that nothing in force is touched; weights are the same
files under a second name. What it has made is taken over by `take`.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.lib import generations, log, paths, records, shell, upgrade_git, upgrading
from scripts.lib.download import error_is_no_space
from scripts.lib.failure import Failure
from scripts.lib.settings import SETTINGS, Settings
from scripts.lib.upgrade_git import Repository, Version
from scripts.lib.upgrade_steps import LOCK, OWNER, PREPARE, STEP, TRY

# Made anew by whatever needs it, and too large to be carried along.
_LEFT = {".venv", ".venv-audit", ".dev", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "__pycache__"}
_FOLDERS = (paths.SECRETS, paths.WIREGUARD, paths.STAMPS)
_FILES = (paths.ENV_FILE, paths.RESOLVED_ENV, generations.FILE)
_INTERRUPTED = 130


def check_out(repository: Repository, version: Version) -> Repository:
    """A checkout of the version in upgrading.NEXT, with the operator's edits in it.

    Failure `upgrade.edits_conflict` where git cannot bring both together, `disk.full`.
    """
    beside = upgrade_git.copy(repository.folder, version, upgrading.NEXT)
    refused = beside.apply(upgrading.edits(), "--3way", "--whitespace=nowarn")
    if refused:
        # Kept where the next upgrade does not remove it.
        kept = paths.STATE / "edits-before-upgrade.patch"
        shutil.copy2(upgrading.edits(), kept)
        names = ", ".join(_conflicts(beside)) or "; ".join(refused)
        fact = f"what you have edited and what {version.commit[:10]} changes meet in {names}"
        hint = f"your edits are also in {kept}: `git checkout` those files, upgrade, and edit them again"
        raise Failure("upgrade.edits_conflict", fact, hint)
    return beside


def _conflicts(beside: Repository) -> list[str]:
    status, out, _ = shell.capture(["git", "-C", str(beside.folder), "diff", "--name-only", "--diff-filter=U"])
    return out.split() if status == 0 else []


def lay_out(repository: Repository, backups: Path) -> None:
    """Everything of the operator's that the new version reads; not the folder `backups`. Failure `disk.full`."""
    try:
        for name in repository.own_files():
            apart = paths.ROOT / name == backups or Path(name).parts[0] in (".appliance", "models")
            if Path(name).name not in _LEFT and not apart:
                _carry(paths.ROOT / name, upgrading.NEXT / name)
        for path in (*_FOLDERS, *_FILES):
            _carry(path, upgrading.NEXT / path.relative_to(paths.ROOT))
        for source, target in _weights(paths.MODELS, upgrading.NEXT / "models"):
            target.parent.mkdir(parents=True, exist_ok=True)
            _second_name(source, target)
    except OSError as error:
        if error_is_no_space(error):
            fact = f"the disk is full: your files do not fit a second time into {upgrading.NEXT}"
            raise Failure("disk.full", fact, "free some space; nothing was changed") from error
        fact = f"your files could not be laid out beside: {error}"
        raise Failure("upgrade.not_laid_out", fact, "nothing was changed; mend that and try again") from error


def _second_name(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        # models/ may lie on a disk of its own.
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(source, target, follow_symlinks=False)


def _carry(source: Path, target: Path) -> None:
    """With owners and modes, which decide on who may read a secret."""
    if not source.exists() and not source.is_symlink():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    words = ["cp", "--archive", "--no-target-directory", str(source), str(target)]
    status, _, err = shell.capture(shell.as_root(words), timeout=600)
    if status != 0:
        last = err.strip().splitlines()[-1] if err.strip() else "no reason given"
        raise Failure("upgrade.not_laid_out", f"{source} could not be copied: {last}", "nothing was changed")


def _weights(source: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    """(file, its second name) of everything in models/ that the other does not have yet."""
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        if (path.is_file() or path.is_symlink()) and not os.path.lexists(there):
            yield path, there


def prepare(wanted: Settings, lock: int) -> None:
    """The new version's own checks, its images and its model. Failure `upgrade.not_prepared`.

    `wanted` are the settings in force. It holds the lock too, so that what it builds after a kill of the upgrade is
    waited for.
    """
    log.step("the new version, beside what runs: its checks, its images, its model")
    status = _up(upgrading.NEXT, {STEP: PREPARE, OWNER: str(paths.ROOT), **_from_here(wanted)}, lock)
    if status != 0:
        fact = "the new version cannot be made ready on this machine: see above"
        its_log = upgrading.NEXT / ".appliance" / "logs" / "up.log"
        if its_log.exists():
            shutil.copyfile(its_log, paths.LOGS / "upgrade-prepare.log")
            fact += f"; its whole output is in {paths.LOGS / 'upgrade-prepare.log'}"
        raise Failure("upgrade.not_prepared", fact, "what runs goes on as it was; mend that and try again")


def _from_here(wanted: Settings) -> dict[str, str]:
    """Settings that lead out of this folder, as they would from the other one."""
    leading = {name: wanted[name] for name in SETTINGS if wanted[name].startswith("../")}
    return {name: str((paths.ROOT / value).resolve()) for name, value in leading.items()}


def take(repository: Repository, version: Version, generation: int) -> None:
    """Put the new version's files into force, with the edits as they were brought together, and what it has made."""
    beside = Repository(upgrading.NEXT)
    edited = beside.edited()
    for source, target in _weights(upgrading.NEXT / "models", paths.MODELS):
        _put(source, target)
    _put(upgrading.NEXT / "models" / records.NAME, paths.MODELS / records.NAME)
    repository.go_to(version.commit)
    for name in edited:
        _put(upgrading.NEXT / name, paths.ROOT / name)
    # What it has staged for its images belongs to what they were made from.
    for name in beside.own_files():
        if Path(name).parts[0] == "images" and (upgrading.NEXT / name).is_file():
            _put(upgrading.NEXT / name, paths.ROOT / name)
    for path in (upgrading.NEXT / ".appliance" / "stamps").glob("*"):
        _put(path, paths.STAMPS / path.name)
    generations.write(generation, generations.FILE)


def _put(source: Path, target: Path) -> None:
    if not os.path.lexists(source):
        target.unlink(missing_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.new")
    shutil.copy2(source, draft, follow_symlinks=False)
    draft.replace(target)


def try_out(lock: int) -> None:
    """The new version on its data, closed to visitors, until it has answered. Failure `upgrade.unfit`."""
    log.step("the new version on a copy of the data, closed to visitors")
    if _up(paths.ROOT, {STEP: TRY}, lock) != 0:
        raise Failure("upgrade.unfit", "the new version does not get well on this machine", "see above why")


def open_up(lock: int) -> None:
    """The new version for everybody, by its own `make up`. Failure `upgrade.not_opened`, also after Ctrl-C."""
    try:
        status = _up(paths.ROOT, {}, lock)
    except KeyboardInterrupt:
        status = _INTERRUPTED
    if status != 0:
        fact = "the new version answers, but was not opened to visitors: see above"
        raise Failure("upgrade.not_opened", fact, "mend that, then `make up`; the data of before is in the backup")


def _up(folder: Path, told: Mapping[str, str], lock: int) -> int:
    """Exit status of a version's `make up`, with the settings that were given to the last one beside .env."""
    given = upgrading.given_before()
    env = {**given, **shell.environment(), **told, LOCK: str(lock)}
    # Whose data were copied: under another name it would start, and be opened, on empty volumes.
    if "COMPOSE_PROJECT_NAME" in given:
        env["COMPOSE_PROJECT_NAME"] = given["COMPOSE_PROJECT_NAME"]
    # Its own words are this command's; and it is told of Ctrl-C as every program of the terminal is.
    command = [str(folder / "scripts" / "up")]
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, pass_fds=(lock,))
    try:
        status = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if status == _INTERRUPTED:
        raise KeyboardInterrupt
    return status
