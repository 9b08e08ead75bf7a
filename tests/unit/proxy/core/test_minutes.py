"""What is counted reaches the store by the minute, once, whatever the store does."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from chatproxy.core.measures import Answer, Figures
from chatproxy.core.minutes import Minutes
from chatproxy.core.slots import Gate
from chatproxy.core.tally import Tally
from tests.unit.proxy.memory import MemoryMinutes

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class Desk:
    """A writer with a clock that is moved by hand; it is told to write."""

    def __init__(self) -> None:
        self.moment = NOON
        self.store = MemoryMinutes()
        self.tally = Tally(clock=lambda: self.moment)
        self.gate = Gate(2, 8, clock=lambda: self.moment.timestamp())
        self.minutes = Minutes(self.store, self.tally, self.gate.status, clock=lambda: self.moment)

    def after(self, seconds: float) -> None:
        self.moment += seconds * SECOND
        self.minutes.write()


def test_everything_that_was_counted_is_stored_in_its_minute() -> None:
    desk = Desk()
    for answer in (
        Answer("stop", "mira", 0.5, 2.5, 100, 20),
        Answer("rule", "mira"),
        Answer("cancelled", "", 0.1, 400.0, 10, 5),
        Answer("failed"),
        Answer("refused"),
    ):
        desk.tally.answered(answer)
    for family, status in (("chat", 200), ("kobold", 503), ("", 404), ("health", 200), ("metrics", 200)):
        desk.tally.requested(family, status)
    desk.tally.asked("site:x/visitor:y")
    desk.tally.queued(7)
    desk.tally.queued(3)
    desk.after(10)
    first_token = [0] * 17
    first_token[7] = first_token[16] = 1
    assert desk.store.stored == {
        NOON: Figures(
            requests=3,
            errors=1,
            answers=2,
            cancelled=1,
            failed=1,
            refused=1,
            prompt_tokens=110,
            completion_tokens=25,
            visitors=1,
            waiting=7,
            first_token=tuple(first_token),
        )
    }


def test_what_comes_later_in_the_minute_is_added_and_nothing_twice() -> None:
    desk = Desk()
    for _ in range(3):
        desk.tally.answered(Answer("stop"))
        desk.after(10)
    desk.after(10)
    assert desk.store.stored[NOON].answers == 3
    assert desk.store.adds == 3


@pytest.mark.parametrize("late", [-0.004, 0.0, 0.3])
def test_a_look_around_the_full_minute_belongs_to_the_minute_before(late: float) -> None:
    desk = Desk()
    desk.after(50)
    desk.tally.answered(Answer("stop"))
    desk.after(10 + late)
    desk.tally.answered(Answer("stop"))
    desk.after(10 - late)
    assert {moment: figures.answers for moment, figures in desk.store.stored.items()} == {NOON: 1, NOON + MINUTE: 1}


def test_slots_that_are_taken_count_in_every_minute_that_they_are() -> None:
    desk = Desk()
    ticket = desk.gate.enter("key:a")
    for _ in range(12):
        desk.after(10)
    desk.moment += 5 * SECOND
    ticket.__exit__(None, None, None)
    desk.after(5)
    assert {moment: figures.busy_s for moment, figures in desk.store.stored.items()} == {
        NOON: 60.0,
        NOON + MINUTE: 60.0,
        NOON + 2 * MINUTE: 5.0,
    }


def test_a_queue_that_nobody_joins_is_still_there() -> None:
    desk = Desk()
    for _ in range(6):
        desk.gate.enter("key:a")
    desk.after(60)
    desk.after(60)
    assert [figures.waiting for figures in desk.store.stored.values()] == [4, 4]


def test_while_the_store_is_away_figures_are_kept_and_added_later(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.store.down = True
    for _ in range(12):
        desk.tally.answered(Answer("stop"))
        desk.after(10)
    assert len(caplog.records) == 1  # an outage of a night is not thousands of lines
    desk.store.down = False
    desk.after(10)
    assert {moment: figures.answers for moment, figures in desk.store.stored.items()} == {NOON: 6, NOON + MINUTE: 6}
    assert desk.store.adds == 2


def test_what_is_kept_for_a_store_that_stays_away_is_bounded() -> None:
    desk = Desk()
    desk.store.down = True
    for _ in range(24 * 60 + 5):
        desk.tally.answered(Answer("stop"))
        desk.after(60)
    desk.store.down = False
    desk.after(60)
    assert len(desk.store.stored) == 24 * 60
    assert min(desk.store.stored) == NOON + 5 * MINUTE


def test_a_visitor_counts_once_a_day() -> None:
    desk = Desk()
    for _ in range(3):
        desk.tally.asked("site:x/visitor:y")
    desk.tally.asked("site:x/visitor:z")
    desk.after(10)
    desk.moment += timedelta(days=1)
    desk.tally.asked("site:x/visitor:y")
    desk.after(10)
    assert sum(figures.visitors for figures in desk.store.stored.values()) == 3


def test_the_end_writes_what_there_is_and_waits_for_no_store_that_hangs() -> None:
    class Hanging(MemoryMinutes):
        def add(self, minute: datetime, figures: Figures) -> None:
            threading.Event().wait(60)

    for store, most_s in ((MemoryMinutes(), 1.0), (Hanging(), 6.0)):
        tally = Tally()
        minutes = Minutes(store, tally, Gate(1, 1).status)
        minutes.start()
        tally.answered(Answer("stop"))
        begun = time.monotonic()
        minutes.stop()
        assert time.monotonic() - begun < most_s
        if not isinstance(store, Hanging):
            assert [figures.answers for figures in store.stored.values()] == [1]


def test_thousands_of_threads_lose_no_count() -> None:
    tally = Tally()

    def count() -> None:
        for _ in range(1000):
            tally.answered(Answer("stop", "mira", 0.1, 0.2, 3, 4))
            tally.requested("chat", 200)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = tally.totals()
    assert totals.answers == {("stop", "mira"): 8000}
    assert totals.requests == {("chat", "2xx"): 8000}
    assert (totals.prompt_tokens, totals.first_token.counts[1]) == (24_000, 8000)
