"""What is old is deleted, unless the clock cannot be believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chatproxy.core.expiry import Expiry, Look

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY, YEAR = timedelta(days=1), timedelta(days=365)


class Store:
    """Implements core.expiry.ExpiryStore; `removed` are the moments up to which was deleted."""

    def __init__(self, look: Look | None = None) -> None:
        self.look = look
        self.removed: list[datetime] = []

    def last(self) -> Look | None:
        return self.look

    def note(self, look: Look) -> None:
        self.look = look

    def remove(self, moment: datetime) -> int:
        self.removed.append(moment)
        return 1


class Clock:
    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment


def test_the_first_look_and_each_minute_delete() -> None:
    store, clock = Store(), Clock()
    expiry = Expiry(store, clock=clock)
    for _ in range(3):
        assert expiry.look() == 1
        clock.moment += timedelta(minutes=1)
    assert store.removed == [NOON, NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)]


def test_a_clock_that_is_a_year_ahead_and_comes_back_has_deleted_nothing() -> None:
    store, clock = Store(Look(NOON)), Clock(NOON + YEAR)
    expiry = Expiry(store, clock=clock)
    for _ in range(60 * 12):
        assert expiry.look() == 0
        clock.moment += timedelta(minutes=1)
    assert store.removed == []
    clock.moment = NOON + DAY / 2
    assert expiry.look() == 1
    assert store.removed == [clock.moment]


def test_after_a_day_the_clock_is_believed() -> None:
    store, clock = Store(Look(NOON)), Clock(NOON + YEAR)
    expiry = Expiry(store, clock=clock)
    assert expiry.look() == 0
    while clock.moment < NOON + YEAR + DAY - timedelta(hours=1):
        clock.moment += timedelta(hours=1)
        assert expiry.look() == 0
    clock.moment = NOON + YEAR + DAY
    assert expiry.look() == 1
    clock.moment += timedelta(minutes=1)
    assert expiry.look() == 1


def test_another_process_knows_of_the_wait() -> None:
    store, clock = Store(Look(NOON)), Clock(NOON + YEAR)
    Expiry(store, clock=clock).look()
    clock.moment += timedelta(minutes=1)
    assert Expiry(store, clock=clock).look() == 0


def test_a_second_jump_begins_another_day() -> None:
    store, clock = Store(Look(NOON)), Clock(NOON + YEAR)
    expiry = Expiry(store, clock=clock)
    expiry.look()
    clock.moment += 2 * DAY
    assert expiry.look() == 0
    assert store.removed == []


def test_a_clock_that_is_set_back_a_little_is_an_ordinary_clock() -> None:
    store, clock = Store(Look(NOON)), Clock(NOON - timedelta(minutes=5))
    assert Expiry(store, clock=clock).look() == 1
    assert store.look == Look(clock.moment)
