"""What has to be finished once it is begun, whoever presses Ctrl-C again: the way back to what ran before.

A terminal sends Ctrl-C to all programs in its foreground, so that to be deaf oneself is not enough: `docker compose`
would hear it, and leave the containers where they are. The work is done by a process in a group of its own, which no
terminal sends anything to, and which goes on even where the command that waits for it is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType

from scripts.lib import log
from scripts.lib.failure import Failure

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def to_the_end(work: Callable[[], None], what: str) -> None:
    """Do `work`, and let no signal end it but SIGKILL; that it goes on is said once. `what` is named in that.

    It is done in a process of its own, so nothing that it changes in memory is seen here. What has been locked stays
    locked until both processes are done. A Failure of the work is raised here; `way_back.broken` stands for a defect of
    it, whose report is in the log, and for one that was killed.
    """
    with _deaf(what):
        sys.stdout.flush()
        sys.stderr.flush()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _work(work, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            said = told.read()
        os.waitpid(child, 0)
    failed = json.loads(said) if said else _broken(f"{what} was killed")
    if failed:
        raise Failure(*failed)


def _work(work: Callable[[], None], writing: int) -> None:
    """In the new process, which ends here."""
    failed: list[str] = []
    try:
        # Not a session of its own: sudo remembers by the terminal whom it need not ask.
        os.setpgid(0, 0)
        for number in _SIGNALS:
            # The other process says it; one that is in the middle of a line could not.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        work()
    except Failure as failure:
        failed = [failure.id, failure.fact, failure.hint]
    except BaseException as defect:
        failed = _broken(f"{type(defect).__name__}: {defect}")
        with contextlib.suppress(OSError), log.file().open("a", encoding="utf-8") as file:
            file.write(traceback.format_exc())
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os.write(writing, json.dumps(failed).encode())
        os._exit(0)


def _broken(fact: str) -> list[str]:
    return ["way_back.broken", fact, f"{log.file()} may say more; `make up` starts what is in force now"]


@contextlib.contextmanager
def _deaf(what: str) -> Iterator[None]:
    said: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        if not said:
            said.append(number)
            log.warn(f"signal.ignored: {what} is being finished -> wait for it; it may take minutes")

    # No SIG_IGN: other programs, which the work may need, would inherit that.
    before = {number: signal.signal(number, hear) for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
