"""What `make restore` and `make backup-check` share: an archive's settings, laid out beside those in force."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.lib import filling, generations, log, paths, resolve, secret_files, takeover
from scripts.lib.archive import Archive
from scripts.lib.compose import Compose
from scripts.lib.failure import Failure
from scripts.lib.host import Host
from scripts.lib.settings import SETTINGS, Settings

STAGE = paths.STATE / "restore"
CHECK = paths.STATE / "backup-check"
BEFORE = paths.STATE / "before-restore"
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
                shutil.copyfile(self.folder / _OWN / setting, path)
                path.chmod(0o400)
                if os.geteuid() == 0:
                    os.chown(path, secret_files.UID, secret_files.UID)
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

    def take(self, generation: int) -> None:
        """Put these settings, and the volumes of that generation, into force; what was goes to BEFORE."""
        generations.write(generation, self.folder / "generation")
        moves = {place: self.folder / name for name, place in PLACES.items()}
        moves |= {paths.RESOLVED_ENV: self.folder / _RESOLVED, generations.FILE: self.folder / "generation"}
        takeover.take(moves, BEFORE)


def back() -> None:
    """What was before the last restore is in force again, and BEFORE holds what that had brought.

    Failure `restore.nothing_before` where there was none.
    """
    places, undone = takeover.taken_from(BEFORE), paths.STATE / "undone-restore"
    if not places:
        fact = "there was no restore here, or what was before it is gone"
        raise Failure("restore.nothing_before", fact, "`make backups` lists what can be restored")
    takeover.take(places, undone)
    shutil.rmtree(BEFORE)
    undone.rename(BEFORE)


def stage(archive: Archive, folder: Path = STAGE) -> Staged:
    """Lay out an archive's settings. Failure `backup.incomplete` where it has none that could be started with."""
    discard(folder)
    folder.mkdir(mode=0o700, parents=True)
    for member in archive.members():
        if not member.name.startswith(_SETTINGS):
            continue
        name = member.name.removeprefix(_SETTINGS)
        if name.startswith(f"{_OWN}/") and name.removeprefix(f"{_OWN}/") not in SETTINGS:
            continue
        place = next((place for place in (*PLACES, _OWN) if name == place or name.startswith(f"{place}/")), None)
        if place is None:
            continue
        path = folder / name
        for missing in reversed([each for each in path.parents if not each.exists()]):
            missing.mkdir(mode=0o755 if place.startswith("compose/") else 0o700)
        path.touch(mode=0o644 if place.startswith("compose/") else 0o600)
        path.write_bytes(archive.read(member.name))
        if place in _CONTAINERS and os.geteuid() == 0:
            os.chown(path, secret_files.UID, secret_files.UID)
    staged = Staged(folder)
    if not staged.env_file.exists() or not secret_files.all_there(folder / "secrets"):
        fact = f"{archive.path} holds no settings, or not all secrets"
        raise Failure("backup.incomplete", fact, "take another one: `make backups` lists them")
    return staged


def remove_left(project: str) -> None:
    """Take away what a restore or a check that was killed left: settings laid out, containers, volumes half filled.

    The caller holds the lock (cli.exclusive), so that no such command is at work.
    """
    for folder in (STAGE, CHECK):
        if not folder.exists():
            continue
        filling.remove(Compose(filling.project_of(project)))
        name = resolve.earlier(folder / "resolved.env").get("DATA_NAME", "")
        number = generations.number_of(name, project)
        if number is not None and number not in (generations.current(), generations.current(_before())):
            generations.remove(project, number)
        discard(folder)


def _before() -> Path:
    return takeover.taken_from(BEFORE).get(generations.FILE, generations.FILE)


def discard(folder: Path = STAGE) -> None:
    """Take away what was laid out."""
    shutil.rmtree(folder, ignore_errors=True)


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
