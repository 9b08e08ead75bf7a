"""mongod is started anew where the clock steps back, and for nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import pytest

from images.mongo import entrypoint


class Process:
    """Ends with a code after so many looks; never where there is none."""

    def __init__(self, looks: int | None = None, code: int = 0) -> None:
        self._left, self._code = looks, code

    def poll(self) -> int | None:
        if self._left is None:
            return None
        self._left -= 1
        return self._code if self._left < 0 else None


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrypoint, "_LOOK_EVERY_S", 0)


def watched(mongod: Any, prepare: Any, leads: Iterator[float]) -> str:
    return entrypoint.watch(mongod, prepare, lambda: False, lambda: next(leads))


def test_a_clock_that_is_put_back_is_told() -> None:
    told = watched(Process(), Process(), iter([1e9, 1e9, 1e9 - 3600]))
    assert "put back by 3600 s" in told


def test_a_clock_that_jumps_ahead_or_is_corrected_changes_nothing() -> None:
    leads = chain([0.0, 1e9, 1e9 - 50, 1e9 - 100], repeat(1e9 - 100))
    assert watched(Process(looks=20), Process(), leads) == ""


def test_a_clock_that_jumped_ahead_and_is_put_right_is_told() -> None:
    assert "put back" in watched(Process(), Process(), iter([0.0, 400 * 86_400.0, 0.0]))


@pytest.mark.parametrize(
    "mongod,prepare", [(Process(looks=3, code=1), Process()), (Process(), Process(looks=3, code=1))]
)
def test_it_ends_with_what_ends(mongod: Process, prepare: Process) -> None:
    assert watched(mongod, prepare, repeat(0.0)) == ""


def test_mongod_goes_on_behind_preparations_that_are_done() -> None:
    assert watched(Process(looks=50), Process(looks=2, code=0), repeat(0.0)) == ""


def test_a_clock_years_ahead_is_no_reason_to_refuse_commands_later(tmp_path: Any) -> None:
    words = entrypoint.command(tmp_path / "key")
    assert "maxAcceptableLogicalClockDriftSecs=2147483647" in words


def test_it_ends_where_it_is_asked_to() -> None:
    assert entrypoint.watch(Process(), Process(), lambda: True, lambda: 0.0) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("within_s", [0.5, None])
def test_mongod_is_made_to_end_where_its_end_waits_by_a_clock_that_was_put_back(within_s: float | None) -> None:
    """One that takes two seconds to end is given them where the clock is right."""
    stubborn = "import signal, time; signal.signal(15, lambda *_: None); print(flush=True); time.sleep(2)"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        entrypoint.end(process, within_s)
    assert process.returncode == (0 if within_s is None else -signal.SIGKILL)
