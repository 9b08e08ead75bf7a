"""Minutes in a real mongod: increments add up, spans are summed up by the server, and 90 days later they go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_minutes import MongoMinutes
from chatproxy.core.measures import FIRST_TOKEN_S, Figures, minutes
from chatproxy.core.types import new_id
from chatproxy.errors import StorageUnavailable
from scripts.lib.native import NativeStack, free_port
from tests.integration.proxy.history.conftest import Client, open_as_root
from tests.unit.proxy.memory import MemoryMinutes

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BUCKETS = len(FIRST_TOKEN_S) + 1


@pytest.fixture
def name(root: Client) -> Iterator[str]:
    name = f"minutes_{new_id()}"
    yield name
    root.drop_database(name)


@pytest.fixture
def store(server: NativeStack, name: str) -> MongoMinutes:
    return MongoMinutes(open_as_root(server, name))


def _figures(seed: int) -> Figures:
    counts = tuple((seed * number) % 5 for number in range(BUCKETS))
    return Figures(seed, seed % 2, seed * 2, 1, 0, seed % 3, seed * 100, seed * 10, 1, seed % 7, seed * 0.5, counts)


def test_every_figure_comes_back_as_it_was_stored(store: MongoMinutes) -> None:
    store.add(NOON, _figures(6))
    assert store.read(NOON, NOON + MINUTE, MINUTE) == {NOON: _figures(6)}


def test_it_sums_up_as_the_fake_does(store: MongoMinutes) -> None:
    fake = MemoryMinutes()
    for number in range(0, 300, 7):
        for each in (store, fake):
            each.add(NOON + number * MINUTE, _figures(number))
            each.add(NOON + number * MINUTE, _figures(number + 1))
    for step in (1, 5, 60, 1440):
        span = (NOON + 3 * MINUTE, NOON + 290 * MINUTE, step * MINUTE)
        assert minutes(store, *span) == minutes(fake, *span), step


def test_minutes_go_after_90_days(store: MongoMinutes, root: Client, name: str) -> None:
    store.add(NOON, Figures(answers=1))
    store.add(NOON, Figures(waiting=3))
    (document,) = root[name]["minutes"].find()
    assert document["expires_at"] == NOON + timedelta(days=90)
    assert set(document) == {"_id", "expires_at", "answers", "waiting"}  # no zeros, nothing of anybody
    index = root[name]["minutes"].index_information()["expiry"]
    assert (index["key"], index["expireAfterSeconds"]) == ([("expires_at", 1)], 2**31 - 1)


def test_90_days_are_read_in_a_moment(store: MongoMinutes, root: Client, name: str) -> None:
    """A chart of all that is kept, on a machine that was busy every minute."""
    store.add(NOON, _figures(6))
    (document,) = root[name]["minutes"].find()
    days = 90
    root[name]["minutes"].insert_many([{**document, "_id": document["_id"] + n} for n in range(1, days * 1440)])
    begun = datetime.now(UTC)
    points = minutes(store, NOON, NOON + timedelta(days=days), timedelta(days=1))
    assert datetime.now(UTC) - begun < timedelta(seconds=3)
    assert sum(point.figures.answers for point in points) == days * 1440 * 12
    assert len(points) == days + 1


def test_a_database_that_is_away_is_a_typed_error() -> None:
    store = MongoMinutes(Database(f"mongodb://127.0.0.1:{free_port()}", "chatbot"))
    with pytest.raises(StorageUnavailable):
        store.add(NOON, Figures(answers=1))
    with pytest.raises(StorageUnavailable):
        store.read(NOON, NOON + MINUTE, MINUTE)
