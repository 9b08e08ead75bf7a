"""What `make restore` and `make backup-check` share: an archive's settings, laid out beside those in force."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.lib import backup_manifest, filling, generations, log, paths, resolve, secret_files, takeover
from scripts.lib.archive import Archive
from scripts.lib.compose import Compose
from scripts.lib.download import error_is_no_space
from scripts.lib.failure import Failure
from scripts.lib.host import Host
from scripts.lib.settings import SETTINGS, Settings

STAGE = paths.STATE / "restore"
CHECK = paths.STATE / "backup-check"
# What UNDO leads back to; what was replaced just now, until it is known whether that was good; and what was not.
BEFORE = paths.STATE / "before-restore"
REPLACED = paths.STATE / "replaced-by-restore"
_GIVEN_UP = paths.STATE / "restore-given-up"
_SETTINGS = "settings/"
_COMPOSE = paths.ROOT / "compose"
# Where an archive's files belong, by their place below settings/.
PLACES = {
    ".env": paths.ENV_FILE,
    "secrets": paths.SECRETS,
    "wireguard": paths.WIREGUARD,
    "compose/bots": _COMPOSE / "bots",
    "compose/formats": _COMPOSE / "formats",
}
# Copies of files that settings name elsewhere, each by its setting.
_OWN = "own"
# Compose's values once the secrets lie in their place.
_RESOLVED = "resolved-then.env"
# For the containers' user alone; the rest is root's, as it was made.
_CONTAINERS = ("secrets",)


@dataclass(frozen=True)
class Staged:
    """An archive's settings, laid out in a folder of their own; nothing in force is touched."""

    folder: Path

    @property
    def env_file(self) -> Path:
        return self.folder / ".env"

    @property
    def resolved(self) -> Path:
        return self.folder / "resolved.env"

    def compose(self, project: str) -> Compose:
        """The appliance of these settings, under a project's name of its own."""
        return Compose(project, env_file=self.env_file, resolved=self.resolved)

    def host(self, host: Host) -> Host:
        """The machine as it is once these files are in force."""
        bots = frozenset(each.stem for each in (self.folder / "compose" / "bots").glob("*.yaml"))
        own = frozenset(each.stem for each in (self.folder / "compose" / "formats").glob("[!_.]*.toml"))
        kinds = {"SMTP_PASSWORD_FILE": host.mail_password, "ENGINE_API_KEY_FILE": host.engine_key}
        kinds |= {name: "readable" for name in self.own() if kinds.get(name) == "missing"}
        return replace(
            host,
            mail_password=kinds["SMTP_PASSWORD_FILE"],
            engine_key=kinds["ENGINE_API_KEY_FILE"],
            bots=bots or host.bots,
            formats=host.formats | own,
            secrets=True,
            wireguard=(self.folder / "wireguard" / "server.json").exists(),
            # New volumes are made with the secrets that come with them.
            locked_out=False,
            stored=(),
        )

    def own(self) -> list[str]:
        """Settings that name a file of the operator's own, of which there is a copy here."""
        return sorted(each.name for each in (self.folder / _OWN).glob("*"))

    def put_own(self, wanted: Settings) -> list[str]:
        """Put the operator's own files where the settings name them; what is there already stays as it is.

        Returns what was put. Failure `restore.own_file` where one cannot be written.
        """
        put = []
        for setting in self.own():
            path = paths.ROOT / Path(wanted[setting]).expanduser()
            if not wanted[setting] or path.exists():
                continue
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # Closed to others from its first byte on, and never through a link that somebody has put there.
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
                with os.fdopen(descriptor, "wb") as file:
                    file.write((self.folder / _OWN / setting).read_bytes())
                    if os.geteuid() == 0:
                        os.fchown(descriptor, secret_files.UID, secret_files.UID)
            except OSError as error:
                fact = f"{setting}={path} cannot be written: {error.strerror}"
                raise Failure(
                    "restore.own_file", fact, f"name another place: {setting}=... behind the command"
                ) from error
            put.append(str(path))
        return put

    def resolve(self, values: dict[str, str]) -> None:
        """Write what Compose is given while the secrets still lie here."""
        resolve.write({**values, "SECRETS_DIR": str(self.folder / "secrets")}, self.resolved)
        resolve.write(values, self.folder / _RESOLVED)
        # Filled by these sources, and by this version.
        (self.folder / paths.SOURCES_STAMP).write_text(values.get("SOURCES_RESOLVED", ""), encoding="utf-8")
        (self.folder / paths.VERSION_STAMP).write_text(backup_manifest.commit(), encoding="utf-8")

    def take(self, generation: int) -> None:
        """Put these settings, and the volumes of that generation, into force; what was goes to REPLACED.

        `keep` or `give_up` has to follow; where neither did, `recover` keeps it.
        """
        generations.write(generation, self.folder / "generation")
        moves = {place: self.folder / name for name, place in PLACES.items()}
        moves |= {paths.RESOLVED_ENV: self.folder / _RESOLVED, generations.FILE: self.folder / "generation"}
        moves |= {paths.STAMPS / name: self.folder / name for name in (paths.SOURCES_STAMP, paths.VERSION_STAMP)}
        takeover.take(moves, REPLACED)


def recover() -> None:
    """Put right what a restore that was killed while it exchanged files has left. The caller holds the lock."""
    if takeover.back():
        log.warn("restore.broken_off: a restore was killed while files were exchanged; those of before are back")
    _settle()


def keep() -> None:
    """What `take` brought is good: what was replaced is what UNDO leads back to from here on."""
    _settle()


def taken() -> bool:
    """Whether `take` has brought all of it, and neither `keep` nor `give_up` has followed yet."""
    return bool(takeover.taken_from(REPLACED))


def give_up() -> None:
    """What `take` brought, or some of it, is not good: all is as it was before it."""
    takeover.back()
    replaced = takeover.taken_from(REPLACED)
    if replaced:
        takeover.take(replaced, _GIVEN_UP)
    _settle()


def undo() -> None:
    """What was before the last restore is in force again, and BEFORE holds what that had brought."""
    check_way_back()
    takeover.take(takeover.taken_from(BEFORE), REPLACED)
    _settle()


def check_way_back() -> None:
    """Failure `restore.nothing_before` where there was no restore, or the volumes of before it are gone."""
    hint = "`make backups` lists what can be restored"
    # Places are written down whole: those of a checkout that was moved since are no longer here.
    if paths.RESOLVED_ENV not in takeover.taken_from(BEFORE):
        fact = "there was no restore here, or what was before it is gone"
        raise Failure("restore.nothing_before", fact, hint)
    # Compose would make empty ones. Where nothing was set up before, there are none.
    data = _data_of(BEFORE)
    if data and f"{data}_mongo_data" not in generations.left_of(data):
        fact = f"the volume {data}_mongo_data, with the data of before the last restore, is gone"
        raise Failure("restore.nothing_before", fact, hint)


def version_before() -> str | None:
    """The commit with which ran what UNDO leads back to; None where that was not noted, "" where git did not tell."""
    noted = takeover.taken_from(BEFORE).get(paths.STAMPS / paths.VERSION_STAMP)
    return noted.read_text(encoding="utf-8").strip() if noted and noted.exists() else None


def leads_back() -> bool:
    """Whether there is something that UNDO would lead back to."""
    data = _data_of(BEFORE)
    return bool(data) and generations.left_of(data) != []


def _settle() -> None:
    """One of the folders with what was replaced stays: what UNDO leads back to. May be killed and repeated."""
    if takeover.taken_from(_GIVEN_UP):
        shutil.rmtree(REPLACED, ignore_errors=True)
    shutil.rmtree(_GIVEN_UP, ignore_errors=True)
    if not takeover.taken_from(REPLACED):
        shutil.rmtree(REPLACED, ignore_errors=True)
        return
    data = _data_of(BEFORE)
    if data and data not in (_data_in_force(), _data_of(REPLACED)):
        # This folder's own of two restores ago. Whose other volumes of such names are, nobody here knows.
        generations.remove_named(data)
    shutil.rmtree(BEFORE, ignore_errors=True)
    REPLACED.rename(BEFORE)


def _data_of(folder: Path) -> str:
    """What the names of the volumes begin with that belong to what was replaced; "" where there was nothing."""
    replaced = takeover.taken_from(folder)
    if paths.RESOLVED_ENV not in replaced:
        return ""
    return _data(replaced[paths.RESOLVED_ENV], replaced[generations.FILE])


def _data_in_force() -> str:
    return _data(paths.RESOLVED_ENV, generations.FILE)


def _data(resolved: Path, generation: Path) -> str:
    values = resolve.earlier(resolved)
    project = values.get("COMPOSE_PROJECT_NAME", "")
    # Of a version that knew one generation only.
    return values.get("DATA_NAME") or (
        generations.data_name(project, generations.current(generation)) if project else ""
    )


def stage(archive: Archive, folder: Path = STAGE) -> Staged:
    """Lay out an archive's settings. Failure `backup.incomplete` where it has none that could be started with."""
    discard(folder)
    folder.mkdir(mode=0o700, parents=True)
    try:
        for member in archive.members():
            place = _place(member.name)
            if place:
                _lay_out(folder, member.name.removeprefix(_SETTINGS), place, archive.read(member.name))
        _check_complete(Staged(folder), archive)
    except BaseException as error:
        discard(folder)
        if error_is_no_space(error):
            fact = f"the disk is full: the settings of the archive do not fit into {folder}"
            raise Failure("disk.full", fact, "free some space and try again; nothing was changed") from error
        raise
    return Staged(folder)


def _check_complete(staged: Staged, archive: Archive) -> None:
    if not staged.env_file.exists() or not secret_files.all_there(staged.folder / "secrets"):
        fact = f"{archive.path} holds no settings, or not all secrets"
        raise Failure("backup.incomplete", fact, "take another one: `make backups` lists them")


def _place(member: str) -> str:
    """Which of PLACES a member of an archive belongs to, or _OWN; "" where it is not laid out."""
    name = member.removeprefix(_SETTINGS)
    if name == member or (name.startswith(f"{_OWN}/") and name.removeprefix(f"{_OWN}/") not in SETTINGS):
        return ""
    return next((place for place in (*PLACES, _OWN) if name == place or name.startswith(f"{place}/")), "")


def _lay_out(folder: Path, name: str, place: str, content: bytes) -> None:
    """One file. Its modes are given outright: whatever umask root has, containers read bots, and nobody a secret."""
    shared = place.startswith("compose/")
    path = folder / name
    for missing in reversed([each for each in path.parents if not each.exists()]):
        missing.mkdir(mode=0o700)
        missing.chmod(0o755 if shared else 0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(descriptor, 0o644 if shared else 0o600)
        if place in _CONTAINERS and os.geteuid() == 0:
            os.fchown(descriptor, secret_files.UID, secret_files.UID)
        # It takes the place of a file that is on the disk.
        os.fsync(descriptor)


def remove_left(project: str) -> None:
    """Take away what a restore or a check that was killed left: settings laid out, containers, volumes half filled.

    The caller holds the lock (cli.exclusive), so that no such command is at work.
    """
    for folder in (STAGE, CHECK):
        if folder.exists():
            # Before anything was resolved the name was not known yet; then there are no containers either.
            filling.remove(Compose(filling.project_of(project)))
            discard(folder)


def discard(folder: Path = STAGE) -> None:
    """Take away what was laid out, and what was filled for it, unless that is in use by now.

    Where Docker does not take volumes away, what names them stays, for the next time.
    """
    resolved = folder / "resolved.env"
    values = resolve.earlier(resolved)
    project, data = values.get("COMPOSE_PROJECT_NAME", ""), values.get("DATA_NAME", "")
    stays: tuple[Path, ...] = ()
    if project and data:
        filling.remove(Compose(filling.project_of(project)))
        if data not in (_data_in_force(), _data_of(BEFORE), _data_of(REPLACED)):
            generations.remove_named(data)
            stays = (resolved,) if _may_be_left(data) else ()
    for each in folder.iterdir() if stays else ():
        if each not in stays:
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    if stays:
        log.warn(f"data.left: volumes named {data}_... could not be removed -> the next `make up` tries it again")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _may_be_left(data: str) -> bool:
    try:
        return generations.left_of(data) != []
    except Failure:
        return True


def told(archive: Archive) -> list[str]:
    """What is in an archive, for a person to read."""
    collections = archive.data.get("collections", {})
    counts = {name: collections.get(name, {}).get("documents", 0) for name in ("conversations", "messages", "chunks")}
    made = archive.manifest.made_at.strftime("%Y-%m-%d %H:%M UTC")
    return [
        f"made {made} of {archive.manifest.project}, {log.size(archive.size)}, encrypted: "
        + ("yes" if archive.encrypted else "no"),
        f"{counts['conversations']} conversations, {counts['messages']} messages, {counts['chunks']} passages",
    ]


def room_for(archive: Archive, host: Host) -> None:
    """Failure `disk.too_small` unless the new volumes fit beside those in use."""
    collections = archive.data.get("collections", {}).values()
    # Documents and their indexes; vectors as Chroma keeps them; the same again while they are written.
    needed = 2 * sum(int(each.get("bytes", 0)) for each in collections) + 4 * archive.size + 512 * 2**20
    if host.disk_free_bytes < needed:
        fact = f"{host.docker_root} has {log.size(host.disk_free_bytes)} free, and this takes about {log.size(needed)}"
        raise Failure("disk.too_small", fact, "free some space; what is there now stays until the new data is whole")
