"""The new version in a folder of its own, where its own `make up` makes everything that it needs, and starts nothing.

It has the operator's settings, keys and files, as copies, so that nothing in force is touched; weights are the same
files under a second name. What it has made is taken over by `take`.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from scripts.lib import generations, log, paths, records, shell, upgrade_git, upgrade_room, upgrading
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
# What the name of a file ends with, behind a dot at its front, until it is whole.
_DRAFT = ".new"


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
        names = ", ".join(beside.conflicted()) or "; ".join(refused)
        fact = f"what you have edited and what {version.commit[:10]} changes meet in {names}"
        hint = f"your edits are also in {kept}: `git checkout` those files, upgrade, and edit them again"
        raise Failure("upgrade.edits_conflict", fact, hint)
    return beside


def lay_out(repository: Repository, backups: Path) -> None:
    """Everything of the operator's that the new version reads; not the folder `backups`.

    Failure `disk.too_small` before anything is copied, `disk.full`, `upgrade.not_laid_out`.
    """
    apart = Path(os.path.realpath(backups))
    try:
        own = list(_own(repository, apart))
        state = [path for path in (*_FOLDERS, *_FILES) if path.exists()]
        copied = _linked(_weights(paths.MODELS, upgrading.NEXT / "models", apart))
        upgrade_room.check([*own, *state, *(source for source, _ in copied)], upgrading.NEXT)
        for path in own:
            _carry(path, upgrading.NEXT / path.relative_to(paths.ROOT))
        for path in state:
            # Copies also of what is a link here: what is made ready beside must not write through it.
            _carry(path, upgrading.NEXT / path.relative_to(paths.ROOT), "--dereference")
        for source, target in copied:
            shutil.copy2(source, target, follow_symlinks=False)
    except OSError as error:
        if error_is_no_space(error):
            fact = f"the disk is full: your files do not fit a second time into {upgrading.NEXT}"
            raise Failure("disk.full", fact, "free some space; nothing was changed") from error
        fact = f"your files could not be laid out beside: {error}"
        raise Failure("upgrade.not_laid_out", fact, "nothing was changed; mend that and try again") from error


def _own(repository: Repository, apart: Path) -> Iterator[Path]:
    """The operator's own files and folders, of which only what is not in the folder `apart`, however deep that lies."""
    for name in repository.own_files():
        path = paths.ROOT / name
        if Path(name).parts[0] not in (".appliance", "models") and path.name not in _LEFT and path not in _FILES:
            yield from _without(path, apart)


def _without(path: Path, apart: Path) -> Iterator[Path]:
    if path.is_symlink() or not apart.is_relative_to(path):
        yield path
    elif path != apart:
        for each in sorted(path.iterdir()):
            yield from _without(each, apart)


def _linked(pairs: Iterable[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Give each file its second name; those that cannot have one, and have to be copied: on another disk or mount."""
    left = []
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            # File systems without such names say EPERM.
            if error.errno not in (errno.EXDEV, errno.EPERM):
                raise
            left.append((source, target))
    return left


def _carry(source: Path, target: Path, *how: str) -> None:
    """With owners and modes, which decide on who may read a secret."""
    _folder_like(source.parent, target.parent)
    words = ["cp", "--archive", *how, "--no-target-directory", str(source), str(target)]
    status, _, err = shell.capture(shell.as_root(words), timeout=600)
    if status != 0:
        last = err.strip().splitlines()[-1] if err.strip() else "no reason given"
        raise Failure("upgrade.not_laid_out", f"{source} could not be copied: {last}", "nothing was changed")


def _folder_like(source: Path, target: Path) -> None:
    """The folder, and those above it, for whom they are made, as the other is: what lies in them may be private."""
    if not target.exists():
        _folder_like(source.parent, target.parent)
        target.mkdir()
        shutil.copymode(source, target)
        if shell.is_root():
            state = source.stat()
            os.chown(target, state.st_uid, state.st_gid)


def _weights(source: Path, target: Path, apart: Path | None = None) -> Iterator[tuple[Path, Path]]:
    """(file, its second name) of everything in models/ that the other does not have yet, but for the folder `apart`."""
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        unfinished = path.name.startswith(".") and path.name.endswith(_DRAFT)
        passed_over = unfinished or (apart and path.is_relative_to(apart))
        if not passed_over and (path.is_file() or path.is_symlink()) and not os.path.lexists(there):
            yield path, there


def bring_weights() -> None:
    """What the new version has fetched, into models/, where nothing that runs minds it: gigabytes, on a disk of its own
    perhaps. Failure `disk.too_small`, `disk.full`, `upgrade.not_laid_out`."""
    try:
        copied = _linked(_weights(upgrading.NEXT / "models", paths.MODELS))
        upgrade_room.check([source for source, _ in copied], paths.MODELS)
        for source, target in copied:
            _put(source, target)
    except OSError as error:
        if error_is_no_space(error):
            fact = f"the disk is full: the new version's weights do not fit into {paths.MODELS}"
            raise Failure("disk.full", fact, "free some space; nothing was changed") from error
        fact = f"the new version's weights could not be put into {paths.MODELS}: {error}"
        raise Failure("upgrade.not_laid_out", fact, "nothing was changed; mend that and try again") from error


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
    """Put the new version's files into force, with the edits as they were brought together, and what it has made.

    Nobody is answered meanwhile, so nothing large is copied: `bring_weights` has to have come before.
    """
    beside = Repository(upgrading.NEXT)
    edited = beside.edited()
    _put(upgrading.NEXT / "models" / records.NAME, paths.MODELS / records.NAME)
    repository.go_to(version.commit)
    for name in edited:
        _put(upgrading.NEXT / name, paths.ROOT / name)
    # What it has staged for its images belongs to what they were made from.
    for name in beside.own_files():
        if Path(name).parts[0] == "images" and (upgrading.NEXT / name).is_file():
            _put(upgrading.NEXT / name, paths.ROOT / name, move=True)
    for path in (upgrading.NEXT / ".appliance" / "stamps").glob("*"):
        _put(path, paths.STAMPS / path.name)
    generations.write(generation, generations.FILE)


def _put(source: Path, target: Path, *, move: bool = False) -> None:
    if not os.path.lexists(source):
        target.unlink(missing_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}{_DRAFT}")
    try:
        if move:
            # Within a disk that takes no time, and costs no room.
            shutil.move(source, draft)
        else:
            shutil.copy2(source, draft, follow_symlinks=False)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def try_out(lock: int) -> None:
    """The new version on its data, closed to visitors, until it has answered. Failure `upgrade.unfit`."""
    log.step("the new version on a copy of the data, closed to visitors")
    if _up(paths.ROOT, {STEP: TRY}, lock) != 0:
        # Read last, when what was before runs again: the caller leads back first.
        hint = (
            "the version before runs again, and nothing is lost; report what stands above, or wait for the next version"
        )
        fact = "the new version does not get well on this machine"
        raise Failure("upgrade.unfit", fact, f"{hint}: `make upgrade` tries again")


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
