"""When an engine counts as wedged."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from images.koboldcpp.entrypoint.healthcheck import WEDGED_AFTER, Busy, check, judge
from tests.doubles.koboldcpp import KoboldcppDouble


def test_an_idle_engine_is_forgotten() -> None:
    assert judge({"idle": 1, "total_gens": 5}, Busy(5, 0.0), 9999.0) == (None, 0.0)


def test_a_busy_engine_is_stuck_only_while_nothing_is_finished() -> None:
    busy, stuck = judge({"idle": 0, "total_gens": 5}, None, 100.0)
    assert (busy, stuck) == (Busy(5, 100.0), 0.0)
    assert judge({"idle": 0, "total_gens": 5}, busy, 100.0 + WEDGED_AFTER) == (busy, WEDGED_AFTER)
    assert judge({"idle": 0, "total_gens": 6}, busy, 2000.0) == (Busy(6, 2000.0), 0.0)


def test_a_note_from_before_a_reboot_does_not_count() -> None:
    assert judge({"idle": 0, "total_gens": 5}, Busy(5, 1e9), 10.0) == (Busy(5, 10.0), 0.0)


def test_a_wedged_engine_is_killed_and_a_busy_one_is_not(tmp_path: Path) -> None:
    state, pid = tmp_path / "busy", tmp_path / "pid"
    with subprocess.Popen(["sleep", "60"]) as engine, KoboldcppDouble(first_token_delay=60) as double:
        pid.write_text(str(engine.pid))
        assert check(double.port, state, pid, wedged_after=0.2) == 0
        body = json.dumps({"prompt": "never read"}).encode()
        request = urllib.request.Request(double.url + "/api/v1/generate", body)
        threading.Thread(target=_ask, args=(request,), daemon=True).start()
        while not double.slot.busy:
            time.sleep(0.01)
        assert check(double.port, state, pid, wedged_after=0.2) == 0
        assert engine.poll() is None
        time.sleep(0.3)
        assert check(double.port, state, pid, wedged_after=0.2) == 1
        assert engine.wait(5) == -signal.SIGKILL
    assert check(double.port, state, pid, wedged_after=0.2) == 1  # nobody answers


def _ask(request: urllib.request.Request) -> None:
    with contextlib.suppress(OSError):  # the double is stopped under it
        urllib.request.urlopen(request, timeout=30)
