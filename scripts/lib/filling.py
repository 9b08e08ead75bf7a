"""New volumes filled from a backup, and compared with it, beside an appliance that goes on answering.

A MongoDB and a Chroma of their own, under another project's name, stand on the new volumes while that lasts. What they
are given was verified as a file before; here it is compared once more, as data: every document byte for byte, every
vector, and what a search finds.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from scripts.lib import docker_daemon, generations, log, secret_files, services, shell, waiting
from scripts.lib.archive import Archive
from scripts.lib.compose import Compose
from scripts.lib.failure import Failure

_SERVICES = ("mongo", "chroma")
_DATA = "data/"
_CADDY = "caddy/"
# (exit status, stdout, stderr)
_Ended = tuple[int, str, str]
# Characters of what differs: ids and numbers, never texts.
_SHOWN = 400
_REMOVE_S = 120.0
# A last checkpoint of gigabytes on a slow disk; the appliance goes on answering meanwhile.
_END_S = 600.0
_HINT = "the archive is whole, so try again; `make doctor` looks for what is wrong with this machine"


@dataclass(frozen=True)
class Filling:
    """Volumes of one generation that are being filled; `compose` is the throw-away project that stands on them."""

    compose: Compose
    archive: Archive

    def data(self) -> None:
        """Conversations, knowledge and keys, and what is searched by. Failures as `chatproxy data load` words them."""
        _raise(*self._worker("load", lambda pipe: self.archive.stream(_DATA, pipe)))

    def compare(self) -> None:
        """Failure `restore.differs` unless everything is as it was when the backup was made."""
        status, out, err = self._worker("compare", lambda pipe: pipe.write(self.archive.read(f"{_DATA}data.json")))
        try:
            found: dict[str, Any] = dict(json.loads(out))
        except (ValueError, TypeError):
            found = {}
        if "differences" not in found:
            _raise(status or 1, out, err)
        if found["differences"] or status:
            shown = {name: each for name, each in found.items() if each and name not in ("differences", "expired")}
            with log.file().open("a", encoding="utf-8") as file:
                file.write(f"{out}\n")
            fact = f"the restored data is not what was backed up: {json.dumps(shown)[:_SHOWN]}"
            raise Failure("restore.differs", fact, f"the whole difference is in {log.file()}; keep the archive")

    def done(self, moment: str) -> None:
        """Records when the backup was made: its age is this data's."""
        _raise(*self._worker("done", lambda _: None, moment))

    def end(self) -> None:
        """Ends both servers with all they have in its place on the disk.

        A mongod that is killed starts again from its last minute's checkpoint, and does what came after it once more,
        the index of all words too: minutes in which everybody waits. Where it does not end in time it comes to that.
        """
        ids = _listed(self.compose, "container", "--all")
        docker_daemon.ask("stop", "--time", f"{_END_S:.0f}", *ids, timeout=_END_S + _REMOVE_S)

    def certificates(self, volume: str) -> None:
        """Caddy's certificates and its own authority, which browsers may have been told to trust."""
        # tar's own user: the volume's root folder belongs to it, as the image has it.
        words = ["run", "--rm", "--interactive", "--network", "none", "--cap-drop", "ALL", "--read-only"]
        words += ["--user", f"{secret_files.UID}", "--mount", f"type=volume,source={volume},target=/data"]
        words += ["--entrypoint", "tar", "chatbot-caddy:local", "--extract", "--directory", "/data", "--file", "-"]
        _raise(*_fed(docker_daemon.docker(*words), lambda pipe: self.archive.stream(_CADDY, pipe), {}))

    def _worker(self, verb: str, given: Callable[[IO[bytes]], object], *words: str) -> _Ended:
        run = ["run", "--rm", "--no-deps", "-T", "--entrypoint", "python3", "worker"]
        command = self.compose.command(*run, "-m", "chatproxy", "data", verb, *words)
        return _fed(command, given, self.compose.environment())


@contextmanager
def filling(compose: Compose, archive: Archive, owner: str, generation: int) -> Iterator[Filling]:
    """MongoDB and Chroma on new, empty volumes of the project `owner`. Where the block fails, the volumes go again."""
    generations.make(owner, generation)
    try:
        for service in _SERVICES:
            waiting.start_one(compose, service)
        yield Filling(compose, archive)
        remove(compose)
    except BaseException:
        # Whatever happens on the way: nothing that costs memory or disk is left behind.
        with suppress(KeyboardInterrupt):
            remove(compose)
        generations.remove(owner, generation)
        raise


def remove(compose: Compose) -> None:
    """Take the throw-away project away. The volumes that were filled are the owner's, and stay."""
    for kind, words in (("container", ["rm", "--force", "--volumes"]), ("network", ["rm"]), ("volume", ["rm"])):
        every = ["--all"] if kind == "container" else []
        if found := _listed(compose, kind, *every):
            docker_daemon.ask(kind, *words, *found, timeout=_REMOVE_S)


def _listed(compose: Compose, kind: str, *every: str) -> list[str]:
    own = f"label=com.docker.compose.project={compose.project}"
    status, out, _ = docker_daemon.ask(kind, "ls", *every, "--quiet", "--filter", own)
    return out.split() if status == 0 else []


def project_of(owner: str) -> str:
    """The throw-away project's name."""
    return f"{owner}-restore"


def _fed(command: list[str], given: Callable[[IO[bytes]], object], env: Mapping[str, str | None]) -> _Ended:
    """(exit status, stdout, stderr) of a command; `given` writes what it reads."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err, env=shell.environment(env))
        assert process.stdin is not None  # noqa: S101 - what PIPE means
        try:
            # Where it reads no further, its own words tell why.
            with suppress(BrokenPipeError), process.stdin as pipe:
                given(pipe)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        return process.wait(), _text(out), _text(err)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _raise(status: int, out: str, err: str) -> None:
    """Failure with the command's own finding, unless it has done what it should."""
    with log.file().open("a", encoding="utf-8") as file:
        file.write(err)
    if status == 0:
        return
    if refused := services.refusal(err):
        raise refused
    last = ((err or out).strip().splitlines() or ["no reason given"])[-1]
    raise Failure("restore.failed", f"the data could not be restored: {last[-300:]}", _HINT)
