"""Jobs of a worker whose clock was ahead for a while are not left waiting for that time to come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_jobs import MongoJobs
from chatproxy.core.sources import Job, Report
from chatproxy.core.types import new_id, now
from scripts.lib.native import NativeStack
from tests.integration.proxy.history.conftest import Client, open_as_root

LEASE, YEAR = timedelta(minutes=1), timedelta(days=365)


@pytest.fixture
def jobs(server: NativeStack, root: Client) -> Iterator[MongoJobs]:
    """Of a database of their own."""
    name = f"jobs_{new_id()}"
    database: Database = open_as_root(server, name)
    database.check()
    yield MongoJobs(database)
    root.drop_database(name)


def _add(jobs: MongoJobs) -> Job:
    return jobs.add(Job(new_id()[:16], "sync", new_id()[:16], now()))


def test_what_was_put_off_by_a_clock_ahead_is_taken(jobs: MongoJobs) -> None:
    job = _add(jobs)
    ahead = now() + YEAR
    taken = jobs.take("w", ahead, ahead + LEASE)
    assert taken and taken.id == job.id
    jobs.leave(taken, "w", "waiting", ahead + timedelta(seconds=5), Report(), trouble="chroma: away")
    again = jobs.take("w", now(), now() + LEASE)
    assert again and again.id == job.id


def test_a_lease_by_a_clock_ahead_has_run_out(jobs: MongoJobs) -> None:
    job = _add(jobs)
    ahead = now() + YEAR
    assert jobs.take("gone", ahead, ahead + LEASE)
    again = jobs.take("other", now(), now() + LEASE)
    assert again and again.id == job.id


def test_what_waits_for_its_turn_goes_on_waiting(jobs: MongoJobs) -> None:
    _add(jobs)
    taken = jobs.take("w", now(), now() + LEASE)
    assert taken
    assert jobs.take("other", now(), now() + LEASE) is None
    jobs.leave(taken, "w", "waiting", now() + timedelta(minutes=5), Report(), trouble="chroma: away")
    assert jobs.take("w", now(), now() + LEASE) is None
