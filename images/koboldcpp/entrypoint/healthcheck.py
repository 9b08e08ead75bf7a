"""``python3 -m entrypoint.healthcheck``: is the engine serving, and does it get anywhere?

It answers while the model loads with "not reachable", then with the state of its slot. A slot that is busy for long
without finishing anything is wedged (koboldcpp has such bugs, and no request can free it): the check then ends the
process, and the container's restart policy brings it back.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from .__main__ import PID_FILE
from .launch import PORT

STATE_FILE = Path("/tmp/koboldcpp.busy")  # noqa: S108  # the container's own
_TIMEOUT = 4.0  # s
#: Longer than any answer: the proxy gives up on an engine after minutes, and a stream without a reader stops.
WEDGED_AFTER = 1800.0  # s


@dataclass(frozen=True)
class Busy:
    """Since when (seconds of the monotonic clock) the slot has been busy with nothing finished since."""

    finished: int
    since: float


def judge(perf: dict[str, int], before: Busy | None, now: float) -> tuple[Busy | None, float]:
    """Compare ``/api/extra/perf`` with the last look.

    Returns:
        What to remember (None while idle), and for how many seconds nothing has been finished.
    """
    if perf["idle"]:
        return None, 0.0
    finished = perf["total_gens"]
    if before is None or before.finished != finished or before.since > now:
        return Busy(finished, now), 0.0
    return before, now - before.since


def check(port: int, state_file: Path, pid_file: Path, wedged_after: float) -> int:
    """Look once, say what was seen, and kill a wedged engine. The exit code: 0 is healthy."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/extra/perf", timeout=_TIMEOUT) as answer:  # nosec B310 - our own http address
            perf = json.load(answer)
        busy, stuck = judge(perf, _remembered(state_file), time.monotonic())
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"koboldcpp does not answer on port {port} (it loads its model, or all its threads are taken): {error}")
        return 1
    _remember(state_file, busy)
    if busy is None:
        print("idle")
        return 0
    print(f"busy, {perf.get('queue', 0)} waiting, nothing finished for {stuck:.0f} s")
    if stuck < wedged_after:
        return 0
    print("that is longer than any answer takes: the slot is wedged, restarting the engine")
    state_file.unlink()
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    return 1


def _remembered(state_file: Path) -> Busy | None:
    try:
        return Busy(**json.loads(state_file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _remember(state_file: Path, busy: Busy | None) -> None:
    if busy is None:
        state_file.unlink(missing_ok=True)
    else:
        state_file.write_text(json.dumps({"finished": busy.finished, "since": busy.since}))


if __name__ == "__main__":
    sys.exit(check(PORT, STATE_FILE, PID_FILE, WEDGED_AFTER))
