"""Dependencies are asked side by side, seldom, and one that hangs makes no other look ill."""

from __future__ import annotations

import threading

from chatproxy.core.condition import Observer
from chatproxy.core.readiness import Readiness
from chatproxy.core.slots import Gate
from chatproxy.core.tally import Tally
from tests.unit.proxy.fakes import FakeCheck
from tests.unit.proxy.memory import MemoryBackups


class Counting:
    """Implements HealthCheck; waits for `go`, and raises `error`."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name, self.error = name, error
        self.asked, self.go = 0, threading.Event()
        self.go.set()

    def check(self) -> None:
        self.asked += 1
        self.go.wait(10)
        if self.error:
            raise self.error


def test_each_is_told_by_name_with_its_reason() -> None:
    reasons = Readiness([FakeCheck("engine"), FakeCheck("mongo", "cannot be reached")]).reasons()
    assert reasons == {"engine": None, "mongo": "cannot be reached"}


def test_a_check_that_breaks_is_no_crash_and_its_text_is_not_shown() -> None:
    reasons = Readiness([Counting("mongo", ValueError("what somebody wrote"))]).reasons()
    assert reasons == {"mongo": "the check itself failed, see the log"}


def test_they_are_bothered_once_a_second_at_most() -> None:
    check = Counting("engine")
    readiness = Readiness([check])
    for _ in range(5):
        readiness.reasons()
    assert check.asked == 1


def test_one_that_hangs_is_the_only_one_that_looks_ill() -> None:
    hanging = Counting("chroma")
    hanging.go.clear()
    try:
        assert Readiness([hanging, FakeCheck("engine")]).reasons() == {"chroma": "no answer in time", "engine": None}
    finally:
        hanging.go.set()


def test_a_look_at_everything_survives_a_database_that_is_away() -> None:
    backups = MemoryBackups()
    backups.down = True
    checks = [FakeCheck("mongo", "cannot be reached")]
    condition = Observer("m", Tally(), Gate(2, 4).status, Readiness(checks), backups).look()
    assert condition.backup is None
    assert condition.dependencies == {"mongo": "cannot be reached"}
    assert (condition.gate.slots, condition.gate.queue) == (2, 4)
