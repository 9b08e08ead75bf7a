"""Running other programs: captured, logged to a file, or as root through `sudo -n`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from scripts.lib import log
from scripts.lib.failure import Failure

# Package tools must neither translate their messages (some are read here) nor stop to ask.
_UNATTENDED = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "a", "LC_ALL": "C.UTF-8"}
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_HEARTBEAT_S = 20.0
_LAST_WORD_S = 30.0


def is_root() -> bool:
    return os.geteuid() == 0


def sudo_works() -> bool:
    """True when sudo needs no password here; it is never allowed to ask."""
    return shutil.which("sudo") is not None and _quiet(["sudo", "-n", "true"]) == 0


def as_root(command: Sequence[str]) -> list[str]:
    """The command as root runs it. `env` keeps the settings that sudo's own policy would drop."""
    if is_root():
        return list(command)
    keep = [f"{name}={value}" for name, value in environment().items() if _survives_sudo(name)]
    return ["sudo", "-n", "env", *keep, *command]


def _survives_sudo(name: str) -> bool:
    return name in _UNATTENDED or name == "PATH" or name.lower().endswith("_proxy") or name.startswith("DOCKER_")


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """The environment for other programs: this one's with `changes`, where None takes a variable away."""
    # A plain user's PATH on Debian lacks the sbin folders where debootstrap and dockerd live.
    path = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    merged = {**os.environ, **_UNATTENDED, "PATH": f"{path}:{_SBIN}", **(changes or {})}
    return {name: value for name, value in merged.items() if value is not None}


def which(program: str) -> str | None:
    return shutil.which(program, path=environment()["PATH"])


def _quiet(command: Sequence[str]) -> int:
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20).returncode
    except (OSError, subprocess.TimeoutExpired):
        return 127


def capture(
    command: Sequence[str],
    *,
    timeout: float = 60,
    env: Mapping[str, str | None] | None = None,
    given: BinaryIO | None = None,
    errors: str = "replace",
) -> tuple[int, str, str]:
    """(exit status, stdout, stderr); 127 when the program is missing, 124 when it ran past `timeout` seconds.

    `given` is its stdin; without it, it has this program's own. `errors`: what becomes of bytes that are no text;
    "surrogateescape" where they are names of files.
    """
    try:
        done = subprocess.run(
            command,
            stdin=given,
            capture_output=True,
            text=True,
            errors=errors,
            timeout=timeout,
            env=environment(env),
        )
    except OSError as error:
        return 127, "", str(error)
    except subprocess.TimeoutExpired:
        return 124, "", f"no answer within {timeout:.0f} s"
    return done.returncode, done.stdout, done.stderr


def lines(command: Sequence[str], *, env: Mapping[str, str | None] | None = None) -> Iterator[str]:
    """The lines of a command's stdout, as they come; it is ended where nobody reads on. Nothing where it is missing."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=environment(env),
        )
    except OSError:
        return
    try:
        for line in process.stdout or ():
            yield line.rstrip("\n")
    finally:
        process.terminate()
        process.wait()


@dataclass
class Piped:
    """A command whose stdout is read as it comes; exit status and stderr are there once its block has ended."""

    stdout: IO[bytes]
    status: int = -1
    err: str = ""


@contextmanager
def piped(
    command: Sequence[str], *, env: Mapping[str, str | None] | None = None, held: bool = False
) -> Iterator[Piped]:
    """Run a command and read its stdout, bytes. It is ended where its block is left before all of that is read.

    `held`: its stdin begins with an empty line and ends when the block does, or this program, in whatever way. That is
    for one in a container, where neither a signal nor a closed pipe gets to: Docker takes what nobody reads any more.
    """
    with tempfile.TemporaryFile() as errors:
        given = subprocess.PIPE if held else subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, stderr=errors, env=environment(env))
        if process.stdout is None:
            raise RuntimeError("no pipe")
        running = Piped(process.stdout)
        try:
            if process.stdin:
                # One that has ended already says why in its own words.
                with suppress(BrokenPipeError):
                    process.stdin.write(b"\n")
                    process.stdin.flush()
            yield running
            # Who stops reading early ends it as `head` does; who has read all waits for its last word.
            process.stdout.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WORD_S)
        finally:
            process.stdout.close()
            if process.stdin:
                with suppress(BrokenPipeError):
                    process.stdin.close()
            # What sudo runs cannot be ended from here; it ends where it writes to nobody.
            with suppress(PermissionError):
                process.terminate()
            try:
                process.wait(_LAST_WORD_S)
            except subprocess.TimeoutExpired:
                with suppress(PermissionError):
                    process.kill()
            running.status = process.wait()
            errors.seek(0)
            running.err = errors.read().decode(errors="replace")


def output(command: Sequence[str], *, timeout: float = 60) -> str | None:
    """Stripped stdout of a command that succeeded, else None."""
    status, out, _ = capture(command, timeout=timeout)
    return out.strip() if status == 0 else None


def logged(
    command: Sequence[str],
    *,
    what: str,
    failure_id: str,
    hint: str = "",
    root: bool = False,
    env: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
    show: Callable[[str], str | None] | None = None,
) -> None:
    """Run a long command with its output in .appliance/logs; raise Failure with its last lines when it fails.

    `show` picks the lines a person sees (it returns the text to print, or None). Where it prints nothing for a
    while, a heartbeat says that the work goes on.
    """
    command = as_root(command) if root else list(command)
    log_path = log.file()
    tail: list[str] = []
    started = spoken = time.monotonic()
    with log_path.open("a", encoding="utf-8") as log_file:
        log_file.write(f"\n$ {shlex.join(command)}\n")
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", env=environment(env), cwd=cwd,
            )  # fmt: skip
        except OSError as error:
            raise Failure(failure_id, f"{what}: {command[0]} cannot be started ({error.strerror})", hint) from error
        try:
            for line in process.stdout or ():
                log_file.write(line)
                log_file.flush()
                tail = [*tail[-29:], line.rstrip()]
                shown = show(line.rstrip()) if show else None
                now = time.monotonic()
                if shown:
                    log.info(shown)
                    spoken = now
                elif now - spoken > _HEARTBEAT_S:
                    log.info(f"{what}: still at it after {log.duration(now - started)}")
                    spoken = now
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status != 0:
        for line in tail[-15:]:
            log.info(f"| {line}")
        fact = f"{what} failed (exit status {status}); the whole output is in {log_path}"
        raise Failure(failure_id, fact, hint)
