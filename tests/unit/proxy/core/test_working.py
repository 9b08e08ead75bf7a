"""The worker's loop: jobs taken, retried while a service is away, given up where they kill it, stopped and paused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatproxy.core.crawling import Scope
from chatproxy.core.sources import Job, Progress
from chatproxy.core.working import Pulse, Working, retry_after_s
from chatproxy.errors import SearchUnavailable
from tests.unit.proxy.core.test_ingest import site
from tests.unit.proxy.knowledge import Knowledge
from tests.unit.proxy.waiting import until


def working(world: Knowledge) -> Working:
    return Working(world.jobs, world.library, world.syncing, "w", Pulse())


def while_it_runs(worker: Working, condition: Callable[[], object]) -> None:
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        until(condition)
    finally:
        worker.stop()
        thread.join(10)
    assert not thread.is_alive()


def state(world: Knowledge, job: Job) -> str:
    return world.jobs.kept[job.id].state


def test_jobs_are_done_one_after_another() -> None:
    world = Knowledge(site())
    first = world.begin()
    _, second = world.library.add_file("site", "a.txt", b"Guide\nIn fog the horn sounds.")
    while_it_runs(working(world), lambda: state(world, second) == "done")
    assert state(world, first) == "done"


def test_a_job_whose_services_are_away_waits_and_says_why() -> None:
    world = Knowledge(site())
    job = world.begin()
    world.embedder.error = SearchUnavailable("embeddings: connection refused")
    while_it_runs(working(world), lambda: world.jobs.kept[job.id].trouble)
    waiting = world.jobs.kept[job.id]
    assert (waiting.state, waiting.trouble) == ("waiting", "embeddings: connection refused")


def test_a_job_waits_little_while_a_service_starts_and_longer_where_it_stays_away() -> None:
    """Whenever within a minute the service is back, its next try is at most 15 s off; an hour costs some 20 tries."""
    waits = [retry_after_s(attempts) for attempts in range(30)]
    tried_at = [sum(waits[:count]) for count in range(1, 31)]
    for back in range(60):
        assert min(moment for moment in tried_at if moment >= back) - back <= 15
    assert 15 <= sum(moment < 3600 for moment in tried_at) <= 25
    assert waits == sorted(waits) and waits[-1] == 300


def test_a_job_that_kills_its_worker_again_and_again_is_given_up() -> None:
    world = Knowledge(site())
    job = world.begin()
    for _ in range(25):
        world.jobs.take("w", datetime.now(UTC), datetime.now(UTC))
    while_it_runs(working(world), lambda: state(world, job) == "failed")
    assert [line.code for line in world.jobs.kept[job.id].report] == ["worker_killed"]


def test_a_defect_fails_the_job_and_not_the_worker() -> None:
    world = Knowledge(site())
    job = world.begin()
    world.embedder.error = ZeroDivisionError("nobody expects this")
    worker = working(world)
    while_it_runs(worker, lambda: state(world, job) == "failed")
    assert [line.code for line in world.jobs.kept[job.id].report] == ["internal_error"]


def test_what_is_due_is_read_again() -> None:
    world = Knowledge(site())
    source, job = world.library.add_website("site", Scope(start=("http://a.example/",)), every_hours=24)
    assert world.run(job).state == "done"
    assert [each.id for each in world.sources.due(datetime(2026, 1, 6, 13, tzinfo=UTC))] == [source.id]
    world.library.schedule(datetime(2026, 1, 6, 11, tzinfo=UTC))
    assert world.jobs.open() == []
    world.library.schedule(datetime(2026, 1, 6, 13, tzinfo=UTC))
    assert [each.source_id for each in world.jobs.open()] == [source.id]


def test_a_reading_that_was_cancelled_is_not_begun_again_at_once() -> None:
    world = Knowledge(site())
    _, first = world.library.add_website("site", Scope(start=("http://a.example/",)), every_hours=24)
    world.library.want(first.id, "cancel")
    world.library.schedule(datetime(2026, 1, 6, 13, tzinfo=UTC))
    (second,) = world.jobs.open()
    world.library.want(second.id, "cancel")
    world.library.schedule(datetime(2026, 1, 6, 14, tzinfo=UTC))
    assert world.jobs.open() == []
    world.library.schedule(datetime(2026, 1, 7, 14, tzinfo=UTC))
    assert len(world.jobs.open()) == 1


def test_it_tells_how_long_it_has_been_silent() -> None:
    world = Knowledge()
    worker = working(world)
    while_it_runs(worker, lambda: True)
    assert timedelta(seconds=worker.silent_s) < timedelta(seconds=10)


def rebuilds(world: Knowledge) -> list[Job]:
    return [job for job in world.jobs.kept.values() if job.kind == "rebuild"]


def test_vectors_of_a_former_model_are_made_anew_once() -> None:
    world = Knowledge(site())
    world.run(world.begin())
    searched = set(world.vectors.kept["site"])
    words = dict(world.words.kept)
    worker = working(world)
    while_it_runs(worker, lambda: worker.silent_s >= 0)
    assert rebuilds(world) == []
    world.vectors.model = "second"
    while_it_runs(working(world), lambda: [job.state for job in rebuilds(world)] == ["done"])
    assert world.vectors.fit("site") == "whole"
    assert set(world.vectors.kept["site"]) == searched
    assert world.words.kept == words


def test_vectors_that_are_gone_are_made_anew() -> None:
    """As where Chroma's data did not fit a new version, and its volume was removed."""
    world = Knowledge(site())
    world.run(world.begin())
    searched = set(world.vectors.kept["site"])
    world.vectors.drop("site")
    assert world.vectors.fit("site") == "absent"
    while_it_runs(working(world), lambda: [job.state for job in rebuilds(world)] == ["done"])
    assert set(world.vectors.kept["site"]) == searched


def test_a_rebuild_that_was_cancelled_is_not_begun_again_at_once() -> None:
    world = Knowledge(site())
    world.run(world.begin())
    world.vectors.model = "second"
    worker = working(world)
    worker._rebuild_if_outdated()
    (job,) = rebuilds(world)
    world.library.want(job.id, "cancel")
    worker._rebuild_if_outdated()
    assert rebuilds(world) == [world.jobs.kept[job.id]]
    assert state(world, job) == "cancelled"


def test_jobs_go_on_where_it_cannot_be_told_whose_vectors_there_are() -> None:
    world = Knowledge(site())
    job = world.begin()
    world.vectors.away = SearchUnavailable("chroma: connection refused")
    while_it_runs(working(world), lambda: state(world, job) == "done")


def test_a_job_whose_end_cannot_be_stored_does_not_end_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatproxy.core.working._LOOK_AFTER_FAILURE_S", 0.05)
    world = Knowledge(site())
    stuck = world.begin()
    refused: list[Job] = []

    def refuse(job: Job, *_: Any, **__: Any) -> None:
        refused.append(job)
        raise OverflowError("too large")

    world.jobs.leave = refuse  # type: ignore[method-assign]
    while_it_runs(working(world), lambda: len(refused) >= 2)
    assert {job.id for job in refused} == {stuck.id}


def test_a_long_wait_is_no_silence() -> None:
    pulse = Pulse(beats_every_s=0.02)
    begun = time.monotonic()
    waiting = threading.Thread(target=pulse.wait, args=(600,))
    waiting.start()
    try:
        until(lambda: time.monotonic() - pulse.silent_s > begun + 0.3)
        assert waiting.is_alive()
    finally:
        pulse.interrupt.set()
        waiting.join(10)
    assert not waiting.is_alive()


def test_a_wait_lasts_as_long_as_asked_and_says_whether_it_was_interrupted() -> None:
    pulse = Pulse(beats_every_s=0.02)
    begun = time.monotonic()
    assert not pulse.wait(0.1)
    assert time.monotonic() - begun >= 0.1
    assert not pulse.wait(0)
    pulse.interrupt.set()
    assert pulse.wait(0)
    assert pulse.wait(600)


def test_what_was_done_is_told_while_it_is_being_done_and_afterwards() -> None:
    world = Knowledge(site())
    first = world.begin()
    worker = working(world)
    while_it_runs(worker, lambda: state(world, first) == "done")
    progress, worked = world.jobs.kept[first.id].progress, worker.worked()
    assert (worked.documents, worked.chunks, worked.errors) == (progress.read, progress.chunks, progress.errors)
    assert worked.documents > 0
    assert worked.jobs == {"done": 1}
    assert worked.seconds > 0


def test_a_job_that_goes_on_is_not_counted_twice() -> None:
    world = Knowledge(site())
    job = world.begin()
    world.embedder.error = SearchUnavailable("embeddings: connection refused")
    worker = working(world)
    while_it_runs(worker, lambda: world.jobs.kept[job.id].trouble)
    before = worker.worked()
    assert before.jobs == {}
    world.embedder.error = None
    world.jobs.kept[job.id] = replace(world.jobs.kept[job.id], progress=Progress(read=5, chunks=50))
    again = working(world)
    while_it_runs(again, lambda: state(world, job) == "done")
    assert again.worked().documents == world.jobs.kept[job.id].progress.read - 5
