"""What an upgrade has to undo, written down before it is done, so that whatever kills it in between, it is led back.

    .appliance/upgrade/journal.json   there while an upgrade is on its way; how far it has got
    .appliance/upgrade/before/        .env, resolved.env, the stamps and the generation of before; the operator's edits
    .appliance/upgrade/next/          the new version's checkout, where its images are built
    .appliance/upgrade/back/          for a moment the version of before, to tell what was edited since

The version that is led back to may be read by the newer one's code, and the other way round: fields of the journal are
added, never renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from scripts.lib import (
    compose,
    docker_daemon,
    generations,
    image_tags,
    log,
    paths,
    resolve,
    settings,
    shell,
    standstill,
    takeover,
    upgrade_since,
    waiting,
)
from scripts.lib.failure import Failure
from scripts.lib.settings import SETTINGS
from scripts.lib.upgrade_git import Repository
from scripts.lib.upgrade_since import Versions

FOLDER = paths.STATE / "upgrade"
NEXT = FOLDER / "next"
_BACK = FOLDER / "back"
_BEFORE = FOLDER / "before"
_JOURNAL = paths.UPGRADE_JOURNAL
_EDITS = "edits.patch"
# What the names of the volumes begin with that an upgrade has replaced, until they are gone.
_FORMER = paths.STATE / "former-data"
# How far it has got. BESIDE: images are being built, nothing that runs was touched. STOPPED: the containers are ended,
# the data is being copied. EXCHANGED: the checkout and the settings may be those of the new version.
BESIDE, STOPPED, EXCHANGED = "beside", "stopped", "exchanged"
# What the operator has, and what is put back byte for byte.
_KEPT = (paths.ENV_FILE, paths.RESOLVED_ENV, generations.FILE, paths.STAMPS)
# An answer in progress is finished, on a CPU too; as docker-compose.yml gives the proxy.
_STOP_S = 200.0
_REMOVE_S = 120.0
_KIND = "com.docker.compose.project"


@dataclass(frozen=True)
class Journal:
    """`old` and `new`: commits; `project`: the appliance's name; `data`: what the names of the volumes begin with that
    are filled for the new version, "" before there are any; `images`: as image_tags.remember gives them; `stopped`:
    when the containers were ended, in seconds since the epoch, 0 before that."""

    phase: str
    old: str
    new: str
    project: str
    images: Mapping[str, Any]
    data: str = ""
    stopped: float = 0.0

    def write(self) -> None:
        """On the disk before this returns."""
        takeover.write(_JOURNAL, json.dumps(asdict(self)))

    def at(self, phase: str, **changed: Any) -> Journal:
        """The same further on, written down."""
        further = replace(self, phase=phase, **changed)
        further.write()
        return further


def read() -> Journal | None:
    """The journal of an upgrade that is on its way, or was killed. Failure where it is damaged."""
    try:
        told = json.loads(_JOURNAL.read_text(encoding="utf-8"))
        known = {each.name for each in fields(Journal)}
        return Journal(**{name: value for name, value in told.items() if name in known})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        fact = f"{_JOURNAL} cannot be read: {error}"
        hint = f"`git log -1` and `docker volume ls` show what is in force; remove {_JOURNAL}, then `make up`"
        raise Failure("upgrade.journal_damaged", fact, hint) from error


def begin(repository: Repository, old: str, new: str, project: str) -> Journal:
    """Keep what is in force, so that it can be put back. Nothing is touched before this."""
    discard()
    if FOLDER.exists():
        raise Failure("upgrade.left", f"{FOLDER} is in the way", f"sudo rm -rf {FOLDER}")
    _BEFORE.mkdir(mode=0o700, parents=True)
    for path in _KEPT:
        _copy(path, _BEFORE / path.name)
    repository.keep_edits(edits())
    _sync_all(_BEFORE)
    journal = Journal(BESIDE, old, new, project, image_tags.remember())
    journal.write()
    return journal


def edits() -> Path:
    """The operator's edits of the version's own files, as a patch."""
    return _BEFORE / _EDITS


def check_unchanged(repository: Repository, journal: Journal) -> None:
    """Failure `upgrade.changed_meanwhile` where the exchange would replace what `begin` has not kept."""
    now = FOLDER / "edits-now.patch"
    repository.keep_edits(now)
    env = settings.read(paths.ENV_FILE) != settings.read(_BEFORE / paths.ENV_FILE.name)
    if env or now.read_bytes() != edits().read_bytes() or repository.current().commit != journal.old:
        fact = ".env or files of the program were edited, or committed, after the upgrade began"
        raise Failure("upgrade.changed_meanwhile", fact, "they are untouched: `make upgrade` again takes them along")


def end() -> None:
    """The new version is in force for good: from here on nothing leads back, and the data of before goes.

    Failure `upgrade.other_data`, nothing done, where it has answered on other data than the copy.
    """
    journal = read()
    now = resolve.earlier(paths.RESOLVED_ENV)
    if journal is None or (now.get("DATA_NAME"), now.get("COMPOSE_PROJECT_NAME")) != (journal.data, journal.project):
        fact = f"the new version runs on {now.get('DATA_NAME') or 'no'}_..., not on the copy that was made for it"
        raise Failure("upgrade.other_data", fact, "the version before goes on; tell whoever makes the new one")
    # Neither git nor cp does that, and what is on the disk already would be gone.
    os.sync()
    former = resolve.earlier(_BEFORE / paths.RESOLVED_ENV.name)["DATA_NAME"]
    # A kill from here on leaves volumes that nobody would ever ask for.
    takeover.write(_FORMER, former)
    _JOURNAL.unlink()
    takeover.sync(FOLDER)
    discard()
    _remove_former()


def _remove_former() -> None:
    if not _FORMER.exists():
        return
    former = _FORMER.read_text(encoding="utf-8").strip()
    if former and former != resolve.earlier(paths.RESOLVED_ENV).get("DATA_NAME"):
        generations.remove_named(former)
    _FORMER.unlink()


def discard() -> None:
    """Take away what was laid out beside; where that cannot be done it is said. The caller knows that no upgrade is on
    its way."""
    words, err = ["rm", "-rf", "--one-file-system", str(FOLDER)], ""
    # What the operator has made without root rights needs none to go.
    for command in (words, shell.as_root(words)):
        if FOLDER.exists():
            _, _, err = shell.capture(command, timeout=_REMOVE_S)
    if FOLDER.exists():
        reason = (err.strip().splitlines() or ["no reason given"])[-1]
        fact = f"{FOLDER} holds copies of your settings and keys, and could not be removed: {reason}"
        log.warn(f"upgrade.left: {fact} -> sudo rm -rf {FOLDER}")


def recover() -> bool:
    """Lead back from an upgrade that was killed; True where there was one, and the caller has to start anew: files of
    the checkout may be others now. The caller holds the lock (cli.exclusive)."""
    journal = read()
    if journal is None:
        discard()
        _remove_former()
        return False
    log.warn(f"upgrade.broken_off: an upgrade to {journal.new[:10]} was killed; {journal.old[:10]} is put back")
    try:
        put_back(journal)
    except Failure as failure:
        if failure.id != image_tags.GONE:
            raise
        # The caller builds what is missing.
        log.warn(str(failure))
    return True


def given_before() -> dict[str, str]:
    """The settings that were given to the last `make up` beside .env."""
    earlier = resolve.earlier(paths.RESOLVED_ENV)
    given = {name: earlier[name] for name in SETTINGS if name in earlier and name != "COMPOSE_PROFILES"}
    # Whose containers and volumes these are stands in resolved.env alone.
    names = ("COMPOSE_PROJECT_NAME", "GPU")
    return given | {name: earlier[name] for name in names if earlier.get(name)}


def again() -> dict[str, str]:
    """The environment for a caller that starts anew: what was given to the last `make up` beside .env is so again."""
    return {**given_before(), **os.environ}


def put_back(journal: Journal) -> None:
    """Everything as it was, but for the containers, which are ended. May be killed at any point, and repeated.

    Failure `image.former_gone`, once all else is as it was, where an image has to be built again.
    """
    docker_daemon.ensure_running()
    if journal.phase != BESIDE:
        end_containers(journal.project)
    _note_built_in_vain(journal)
    if journal.phase == EXCHANGED:
        _put_back_files(journal)
    gone = _put_back_images(journal)
    if journal.data:
        if journal.data == resolve.earlier(paths.RESOLVED_ENV).get("DATA_NAME", ""):
            raise Failure(
                "upgrade.stuck",
                f"the data of the new version ({journal.data}_...) is still in force",
                f"`make up`; the data of before lies in the volumes that {_BEFORE / 'resolved.env'} names",
            )
        generations.remove_named(journal.data)
    # Neither git nor cp does that, and what was kept goes now.
    os.sync()
    _JOURNAL.unlink()
    takeover.sync(FOLDER)
    discard()
    if gone:
        # With the images of the new version this data must not be started.
        raise gone


def _note_built_in_vain(journal: Journal) -> None:
    kept = _BEFORE / paths.STAMPS.name
    # Where the stamps are put back, what stands in the others would go with them.
    noted = kept if journal.phase == EXCHANGED else paths.STAMPS
    try:
        image_tags.note_vain(journal.images, kept, (NEXT / ".appliance" / "stamps", paths.STAMPS), noted)
    except OSError as error:
        hint = "once there is room, `docker image prune` removes all images on this machine that have no name"
        log.warn(f"image.not_noted: what was built in vain stays: {error.strerror or error} -> {hint}")


def _put_back_images(journal: Journal) -> Failure | None:
    try:
        image_tags.put_back(journal.images)
    except Failure as failure:
        return failure
    return None


def _put_back_files(journal: Journal) -> None:
    repository = Repository(paths.ROOT)
    upgrade_since.keep(repository, Versions(journal.old, journal.new, _BEFORE, NEXT, edits(), _BACK))
    # A git that was killed half-way has left files that no index names: as part of the version they go with it.
    with contextlib.suppress(Failure):
        repository.go_to(journal.new)
    repository.go_to(journal.old)
    # What was added by hand lies there, as the exchange has brought it over; git would not write on it.
    for name in repository.made_by(edits()):
        (repository.folder / name).unlink(missing_ok=True)
    refused = repository.apply(edits(), "--whitespace=nowarn")
    if refused:
        kept = paths.STATE / "edits-before-upgrade.patch"
        _copy(edits(), kept)
        log.warn(f"upgrade.edits_left: your edits are not in the files: {refused[0]} -> git apply {kept}")
    for path in _KEPT:
        kept = _BEFORE / path.name
        if kept.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(kept, path, symlinks=True)
        elif kept.exists():
            _write_back(kept, path)
        else:
            path.unlink(missing_ok=True)


def _write_back(kept: Path, path: Path) -> None:
    """As dotenv.write_private does: where `path` is a link, through it; and whose it was, it stays."""
    there = Path(os.path.realpath(path))
    # Of the same name each time: who is killed leaves one, which the next takes away.
    draft = there.with_name(f"{there.name}.back")
    _copy(kept, draft)
    if shell.is_root() and there.exists():
        owner = there.stat()
        os.chown(draft, owner.st_uid, owner.st_gid)
    draft.replace(there)


def start(stopped: float) -> str:
    """Start what is in force now; how long nobody was answered since `stopped`, as standstill.told words it."""
    appliance = compose.current()
    waiting.start(appliance)
    waiting.until_ready(appliance)
    return standstill.told(appliance, stopped)


def end_containers(project: str) -> None:
    """Stop and remove the project's containers and networks, whatever version's they are; volumes stay.

    By their labels: the files of a broken version may not even be readable for Compose. Failure `upgrade.not_stopped`.
    """
    own = f"label={_KIND}={project}"
    if ids := _listed(own):
        docker_daemon.ask("stop", "--time", f"{_STOP_S:.0f}", *ids, timeout=_STOP_S + _REMOVE_S)
        docker_daemon.ask("rm", "--force", *ids, timeout=_REMOVE_S)
    if left := _listed(own):
        fact = f"{len(left)} containers of {project} could not be removed"
        raise Failure("upgrade.not_stopped", fact, "`docker ps` shows them; `make up` once they are gone")
    networks = docker_daemon.ask("network", "ls", "--quiet", "--filter", own)[1].split()
    if networks:
        docker_daemon.ask("network", "rm", *networks, timeout=_REMOVE_S)


def _listed(own: str) -> list[str]:
    status, out, err = docker_daemon.ask("container", "ls", "--all", "--quiet", "--filter", own)
    if status != 0:
        fact = f"docker container ls failed: {err.strip()[-200:]}"
        raise Failure("docker.no_answer", fact, "`make doctor` looks closer; `make up` goes on from here")
    return out.split()


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    elif source.exists():
        shutil.copy2(source, target)


def _sync_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        takeover.sync(path)
