"""What goes into a backup, and where each part comes from: the worker's dump, this folder, Caddy's volume."""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol, cast

from scripts.lib import paths, services, shell
from scripts.lib.archive_tar import Reads
from scripts.lib.compose import Container
from scripts.lib.failure import Failure
from scripts.lib.settings import Settings
from scripts.lib.shell import Piped

_DUMP = ("python3", "-m", "chatproxy", "data", "dump")
_PART = re.compile(r"(.+)\.part(\d{4,})")
# So long without a byte, and the database hangs. Vectors that have to be made anew on a slow machine take minutes.
_STALLED_S = 1800.0
_COPY = 2**20
# 128 + SIGKILL
_KILLED = 137
_IN_MEMORY = 8 * 2**20
# In this folder -> in the archive.
_SETTINGS = {
    ".env": "settings/.env",
    ".appliance/secrets": "settings/secrets",
    ".appliance/wireguard": "settings/wireguard",
    ".appliance/stamps": "settings/stamps",
    "compose/bots": "settings/compose/bots",
    "compose/formats": "settings/compose/formats",
}
# The operator's own files, wherever they lie; not the one that the archive is encrypted with.
OWN_FILES = ("SMTP_PASSWORD_FILE", "ENGINE_API_KEY_FILE", "MODEL_TOKEN_FILE", "BACKUP_REMOTE_ENV")
Found = tuple[str, int, Reads]


class Appliance(Protocol):
    """What a backup needs of Compose."""

    @property
    def project(self) -> str: ...

    def run_in(self, service: str, command: Sequence[str], timeout: float = 60) -> tuple[int, str, str]: ...

    def pull(self, service: str, command: Sequence[str]) -> AbstractContextManager[Piped]: ...

    def beside(self, service: str, volume: str, command: Sequence[str]) -> AbstractContextManager[Piped]: ...

    def containers(self) -> list[Container]: ...


def check_running(appliance: Appliance) -> None:
    """Failure where a service that holds data, or reads it, is not there."""
    state = {container.service: container for container in appliance.containers()}
    for service in ("mongo", "chroma", "embeddings", "worker"):
        found = state.get(service)
        if found is None or found.state != "running":
            said = f"is {found.state}" if found else "has no container"
            hint = f"`make up` starts it; `make logs SERVICE={service}` says why it ended"
            raise Failure("backup.not_running", f"{service} {said}, so there is nothing to read from", hint)


class _Unstalled:
    """Reads a pipe, and gives up on one that says nothing for too long."""

    def __init__(self, pipe: IO[bytes], patience_s: float) -> None:
        self._pipe, self._patience_s = pipe, patience_s

    def read(self, size: int = -1, /) -> bytes:
        if not select.select([self._pipe], [], [], self._patience_s)[0]:
            fact = f"the dump has not gone on for {self._patience_s:.0f} s"
            raise Failure("backup.stalled", fact, "`make status` and `make logs SERVICE=mongo` show what hangs")
        # Past the buffer, of which select knows nothing.
        return os.read(self._pipe.fileno(), size)


def data(appliance: Appliance, spool: Path, patience_s: float = _STALLED_S) -> Generator[Found, None, None]:
    """The members of `data dump`, long ones put together from their parts; each is to be read before the next.

    A part that is not whole yet lies in a file without a name in the folder `spool`, which is gone however this ends.
    Failure as the dump tells it, backup.dump_broken for a stream that breaks off.
    """
    last = ""
    broken = ""
    with appliance.pull("worker", _DUMP) as dump:
        try:
            pipe = _Unstalled(dump.stdout, patience_s)
            with tarfile.open(fileobj=pipe, mode="r|", bufsize=_COPY) as tar:  # type: ignore[call-overload]
                for last, size, source in _joined(tar, spool):
                    yield f"data/{last}", size, source
        except (tarfile.TarError, EOFError) as error:
            broken = str(error)
    if dump.status != 0 or broken or last != "data.json":
        if "invalid choice: 'data'" in dump.err:
            hint = "`make up` brings it to this version"
            raise Failure("backup.worker_old", "the worker cannot dump its data yet", hint)
        if refused := services.refusal(dump.err):
            raise refused
        if dump.status == _KILLED:
            hint = "`make doctor` tells whether memory was short (WORKER_MEMORY); make the backup again"
            raise Failure(
                "backup.dump_broken",
                "the dump was killed: the worker was stopped, or needed more memory than it may have",
                hint,
            )
        said = (dump.err.strip().splitlines() or [broken or f"exit status {dump.status}"])[-1]
        raise Failure("backup.dump_broken", f"the dump broke off: {said}", "`make logs SERVICE=worker`; then try again")


def _joined(tar: tarfile.TarFile, spool: Path) -> Generator[Found, None, None]:
    """Whole members. Each is read to its end here, where it is known what a stream that breaks off means."""
    whole, count = "", 0
    with contextlib.ExitStack() as open_files:
        parts: IO[bytes] | None = None
        for info in tar:
            content = tar.extractfile(info) if info.isreg() else None
            if content is None:
                raise tarfile.TarError(f"{info.name} is no file")
            match = _PART.fullmatch(info.name)
            if match and int(match[2]) != (count if match[1] == whole else 0):
                raise tarfile.TarError(f"{info.name} is not the part that comes next")
            if parts is None or match is None or match[1] != whole:
                if parts is not None:
                    yield whole, _rewound(parts), parts
                    open_files.close()
                # Short ones stay in memory; a long one's file has no name, and is gone when it is closed or we end.
                parts = open_files.enter_context(_spool(spool))
                whole, count = match[1] if match else info.name, 0
            shutil.copyfileobj(content, parts, _COPY)
            count += 1
        if parts is not None:
            yield whole, _rewound(parts), parts


def _spool(folder: Path) -> IO[bytes]:
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder)))


def _rewound(file: IO[bytes]) -> int:
    size = file.tell()
    file.seek(0)
    return size


def settings(wanted: Settings, root: Path = paths.ROOT) -> Generator[Found, None, None]:
    """What the operator decided and made: settings, secrets, WireGuard's keys, bots, formats, files of their own."""
    there = [name for name in _SETTINGS if (root / name).exists()]
    if ".env" not in there:
        raise Failure("backup.no_settings", f"there is no {root / '.env'}", "`make up` makes it")
    yield from _files(root, there, _SETTINGS)
    for setting in OWN_FILES:
        if wanted[setting]:
            path = root / Path(wanted[setting]).expanduser()
            yield from _files(path.parent, [path.name], {path.name: f"settings/own/{setting}"})


def _files(folder: Path, names: Sequence[str], places: Mapping[str, str]) -> Generator[Found, None, None]:
    # As root: the secrets are the containers' user's. tar reads them for whoever may not.
    command = ["tar", "-C", str(folder), "--dereference", "--sort=name", "-cf", "-", "--", *names]
    with shell.piped(shell.as_root(command)) as piped:
        yield from _regular(piped, lambda name: _placed(name, places))
    if piped.status != 0:
        said = (piped.err.strip().splitlines() or ["no reason given"])[0]
        fact = f"the files of this appliance cannot be read: {said}"
        raise Failure("backup.files_unreadable", fact, "run `sudo make backup`, or correct what it names in .env")


def _placed(name: str, places: Mapping[str, str]) -> str:
    top = next(top for top in places if name == top or name.startswith(f"{top}/"))
    return places[top] + name[len(top) :]


def certificates(appliance: Appliance) -> Generator[Found, None, None]:
    """Caddy's certificates and own authority, whether or not Caddy runs."""
    command = ["tar", "-C", "/from", "--exclude=./caddy/locks", "--sort=name", "-cf", "-", "."]
    with appliance.beside("caddy", "caddy_data", command) as piped:
        yield from _regular(piped, lambda name: f"caddy/{name.removeprefix('./')}")
    # 1: something has changed meanwhile. Caddy renews a certificate by replacing its file, so each is whole.
    if piped.status not in (0, 1):
        said = (piped.err.strip().splitlines() or ["no reason given"])[-1]
        hint = "`make up` builds Caddy's image and makes its volume; then try again"
        raise Failure("backup.certificates_unreadable", f"Caddy's certificates cannot be read: {said}", hint)


def _regular(piped: Piped, placed: Callable[[str], str]) -> Generator[Found, None, None]:
    """The files of a tar as another program wrote it; what is neither file nor folder is none of ours."""
    try:
        with tarfile.open(fileobj=piped.stdout, mode="r|") as tar:
            for info in tar:
                content = tar.extractfile(info) if info.isreg() else None
                if content is not None:
                    # Here, where it is known what a stream that breaks off means.
                    raw = content.read()
                    yield placed(info.name), len(raw), io.BytesIO(raw)
    except tarfile.TarError as error:
        # An empty one has ended badly, and says so in its exit status.
        if piped.stdout.read(1):
            raise Failure("backup.files_unreadable", f"tar wrote what cannot be read: {error}", "try again") from error
