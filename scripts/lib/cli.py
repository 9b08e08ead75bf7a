"""What every operator command shares: how it ends, and that two of them do not fight."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from scripts.lib import log, paths, upgrade_steps
from scripts.lib.failure import Failure

_INTERRUPTED = 130
_UNEXPECTED = 70


def run(verb: str, work: Callable[[], int | None], interrupted: str = "") -> int:
    """Exit status of the command: 0, 1 for a Failure, 130 for Ctrl-C, 70 for a defect in the command itself.

    `interrupted` is said after Ctrl-C; without it that the same command goes on from where it was.
    """
    # Whatever the shell has: what this makes is for nobody else to write to, .appliance with the secrets least of all.
    os.umask(os.umask(0o022) | 0o022)
    try:
        log.begin(verb)
        return work() or 0
    except Failure as failure:
        # Of a version that is only tried nothing is left to look at once this is read: the upgrade says what to do.
        tried = upgrade_steps.wanted() == upgrade_steps.TRY
        log.error(f"{failure.id}: {failure.fact}" if tried else str(failure))
        return 1
    except KeyboardInterrupt:
        if upgrade_steps.wanted():
            log.error("interrupted")
            return _INTERRUPTED
        log.error(f"interrupted; {interrupted or f'`make {verb}` again goes on from here'}")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left, as `head` does.
        sys.stderr.close()
        return 0
    except Exception as error:
        with log.file().open("a", encoding="utf-8") as file:
            file.write(traceback.format_exc())
        log.error(f"unexpected: {type(error).__name__}: {error} (the full report is in {log.file()})")
        return _UNEXPECTED


def flag(name: str, given: Mapping[str, str] = os.environ) -> bool:
    """Whether a flag of a command is on: NAME=1, or any word but 0 and false. Off where it is not given or empty."""
    return given.get(name, "") not in ("", "0", "false")


def undo_when_ended() -> None:
    """From here on `kill` and a connection that breaks end the command as Ctrl-C does: what it began is undone.

    Each of them once: `make` passes on what the whole group of processes was sent already, and of a terminal that goes
    away both the kernel and the shell tell. Under `nohup` nothing changes.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    # No SIG_IGN: other programs, which the undoing may need, would inherit that.
    signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


@contextmanager
def exclusive(wait_s: float = 0, *, leads_back: bool = False) -> Iterator[int]:
    """At most one command at a time changes this appliance; another one is waited for so long, in seconds.

    Yields the descriptor of the lock, which may be handed on to a program that takes part (upgrade_steps.LOCK). Only
    commands that lead back an upgrade which was killed (`leads_back`) begin on what it has left; for others that is
    Failure `upgrade.broken_off`.
    """
    # The folder itself is locked: a refused `make up` leaves no file behind, not even a lock.
    folder = upgrade_steps.lock()
    if folder is None:
        folder = os.open(paths.ROOT, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + wait_s
        while not _locked(folder):
            if time.monotonic() >= deadline:
                fact = f"another command is changing this appliance right now{_holder(folder)}"
                raise Failure("appliance.busy", fact, "wait until it is done")
            time.sleep(1)
        if paths.UPGRADE_JOURNAL.exists() and not leads_back:
            fact = "an upgrade was killed, and some things may be of one version, and some of the other"
            raise Failure("upgrade.broken_off", fact, "`make up` puts back what was before it")
        yield folder
    finally:
        os.close(folder)


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(folder: int) -> str:
    """Who holds the lock, as far as the kernel tells: ` (scripts/backup, process 4711)`."""
    inode = os.fstat(folder).st_ino
    try:
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1048602 0 EOF
            words = line.split()
            if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
                command = Path(f"/proc/{words[4]}/cmdline").read_bytes().decode(errors="replace").split("\0")
                script = next((word for word in command if "scripts/" in word), command[0])
                return f" ({script}, process {words[4]})"
    except (OSError, IndexError):
        pass
    return ""
