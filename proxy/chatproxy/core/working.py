"""The worker's day: one job after another by lease, sources that are due, vectors of a former model, a sign of life.

A job's lease is renewed while it runs, which also tells how far it is and hears what is wanted of it. A worker that
dies leaves the job to the next one, which goes on from its checkpoint.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from chatproxy.core.knowledge_ports import JobStore
from chatproxy.core.library import Library
from chatproxy.core.sources import Job, JobState, Report, Wanted
from chatproxy.core.syncing import Syncing
from chatproxy.errors import ChatProxyError, InvalidRequest

_log = logging.getLogger(__name__)
_LEASE = timedelta(seconds=60)
_RENEWED_EVERY_S = 2.0
_LOOKS_EVERY_S = 1.0
_SCHEDULES_EVERY_S = 30.0
# A crawl's state of 100,000 addresses comes to some 6 MB: what storing it takes is kept to a twentieth of the time.
_STORED_EVERY_S = 2.0
_STORING_SHARE = 20
# Seconds until a job whose services are away is tried again, the last of them from then on. A service that starts anew
# is there within a minute: for so long nobody waits for more than a quarter of one.
_WAITS_S = (5.0, 10.0, 15.0, 15.0, 15.0, 15.0, 30.0, 60.0, 120.0, 300.0)
# And until jobs are looked for again where that failed.
_LOOK_AFTER_FAILURE_S = 5.0
# A job that was begun so often without coming any further kills its worker.
_MOST_STARTS = 25


class Pulse:
    """A worker's sign of life, and what its crawler waits with: however long a wait is, it is no silence."""

    def __init__(self, *, beats_every_s: float = 10.0) -> None:
        # Set to end a wait at once.
        self.interrupt = threading.Event()
        self._beats_every_s = beats_every_s
        self._beat_at = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._beat_at

    def beat(self) -> None:
        self._beat_at = time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Wait so long, beating; True as soon as it is interrupted."""
        end = time.monotonic() + seconds
        while True:
            self.beat()
            left_s = max(0.0, end - time.monotonic())
            if self.interrupt.wait(min(left_s, self._beats_every_s)):
                return True
            if left_s <= self._beats_every_s:
                return False


@dataclass(frozen=True, slots=True)
class Worked:
    """What a worker has done since it began, the job in hand included: documents read, their chunks, errors, seconds
    at work, and jobs by how they ended."""

    documents: int = 0
    chunks: int = 0
    errors: int = 0
    seconds: float = 0.0
    jobs: Mapping[JobState, int] = field(default_factory=dict)


class _Turn:
    """Implements core.syncing.Turn."""

    def __init__(self, jobs: JobStore, job: Job, worker: str, pulse: Pulse):
        self.report = Report(job.progress, job.report, job.unlisted)
        self.lost = False
        self.wanted: Wanted = "run"
        self._jobs, self._job, self._worker, self._pulse = jobs, job, worker, pulse
        self._next_store = 0.0
        self._begun_at = time.monotonic()

    def added_to(self, before: Worked) -> Worked:
        """With what this turn has done so far; a job that goes on had done some of it before."""
        progress, had = self.report.progress, self._job.progress
        return Worked(
            before.documents + progress.read - had.read,
            before.chunks + progress.chunks - had.chunks,
            before.errors + progress.errors - had.errors,
            before.seconds + time.monotonic() - self._begun_at,
            before.jobs,
        )

    def interrupted(self) -> bool:
        self._pulse.beat()
        return self._pulse.interrupt.is_set()

    def checkpoint(self, state: Callable[[], Mapping[str, Any]]) -> None:
        self._pulse.beat()
        begun = time.monotonic()
        if begun < self._next_store and not self._pulse.interrupt.is_set():
            return
        self._jobs.checkpoint(self._job, self._worker, state(), self.report)
        now = time.monotonic()
        self._next_store = now + max(_STORED_EVERY_S, _STORING_SHARE * (now - begun))

    def renew(self) -> None:
        """Keep the lease. Called from a thread of its own."""
        until = datetime.now(UTC) + _LEASE
        try:
            wanted = self._jobs.renew(self._job.id, self._worker, until, self.report.progress)
        except ChatProxyError as error:
            _log.warning("the lease of job %s cannot be renewed: %s", self._job.id, error)
            return
        if wanted is None:
            self.lost = True
        else:
            self.wanted = wanted
        if self.wanted != "run" or self.lost:
            self._pulse.interrupt.set()


class Working:
    """One worker. `pulse` is what its crawler waits with."""

    def __init__(self, jobs: JobStore, library: Library, syncing: Syncing, worker: str, pulse: Pulse) -> None:
        self._jobs, self._library, self._syncing = jobs, library, syncing
        self._worker, self._pulse = worker, pulse
        self._stop = threading.Event()
        self._outdated = False
        self._lock = threading.Lock()
        self._worked, self._turn = Worked(), cast("_Turn | None", None)

    @property
    def silent_s(self) -> float:
        """Seconds since the last sign of life."""
        return self._pulse.silent_s

    def worked(self) -> Worked:
        """What has been done until now."""
        with self._lock:
            return self._turn.added_to(self._worked) if self._turn else self._worked

    def stop(self) -> None:
        """End after the document in hand; its job goes on when a worker is there again."""
        self._stop.set()
        self._pulse.interrupt.set()

    def run(self) -> None:
        """Work until `stop`."""
        next_schedule = 0.0
        while not self._stop.is_set():
            self._pulse.beat()
            try:
                if time.monotonic() >= next_schedule:
                    self._library.schedule(datetime.now(UTC))
                    self._rebuild_if_outdated()
                    next_schedule = time.monotonic() + _SCHEDULES_EVERY_S
                now = datetime.now(UTC)
                job = self._jobs.take(self._worker, now, now + _LEASE)
                if job:
                    self._do(job)
                    continue
            except ChatProxyError as error:
                _log.warning("jobs cannot be looked for: %s", error)
                self._stop.wait(_LOOK_AFTER_FAILURE_S)
            except Exception:
                # One job's end that cannot be stored must not be every job's end: after so many starts it has failed.
                _log.exception("a job could not be brought to its end")
                self._stop.wait(_LOOK_AFTER_FAILURE_S)
            self._stop.wait(_LOOKS_EVERY_S)

    def _rebuild_if_outdated(self) -> None:
        """With another embedding model, or an empty Chroma, all vectors are made anew, once: a rebuild that was
        cancelled stays so."""
        try:
            outdated = self._syncing.outdated()
        except ChatProxyError as error:
            _log.warning("it cannot be told whether the vectors are the present model's: %s", error)
            return
        if outdated and not self._outdated:
            job = self._library.rebuild()
            _log.info("vectors are missing, or another embedding model's: job %s makes all anew", job.id)
        self._outdated = outdated

    def _do(self, job: Job) -> None:
        """Run one job, and say what became of it. Raises StorageUnavailable: then its lease runs out."""
        self._pulse.interrupt.clear()
        if self._stop.is_set():
            self._pulse.interrupt.set()
        turn = _Turn(self._jobs, job, self._worker, self._pulse)
        with self._lock:
            self._turn = turn
        ended = threading.Event()
        keeper = threading.Thread(target=_keep, args=(turn, ended), name="lease", daemon=True)
        keeper.start()
        _log.info("job %s (%s of %s) begins", job.id, job.kind, job.source_id or "everything")
        state: JobState | None = None
        trouble = ""
        try:
            if job.starts > _MOST_STARTS:
                turn.report.say("", "worker_killed", f"The worker ended {_MOST_STARTS} times at the same place.")
                state = "failed"
            else:
                state = self._syncing.run(job, turn)
        except InvalidRequest as error:
            turn.report.say("", error.code, error.public)
            state = "failed"
        except ChatProxyError as error:
            trouble = str(error)
        except Exception:
            _log.exception("job %s broke down", job.id)
            turn.report.say("", "internal_error", "The worker's log says what went wrong.")
            state = "failed"
        finally:
            ended.set()
            keeper.join()
            self._count(turn, state)
        if not turn.lost:
            self._leave(job, turn, state, trouble)

    def _count(self, turn: _Turn, state: JobState | None) -> None:
        with self._lock:
            done = turn.added_to(self._worked)
            jobs = {**done.jobs, state: done.jobs.get(state, 0) + 1} if state else done.jobs
            self._worked, self._turn = replace(done, jobs=jobs), None

    def _leave(self, job: Job, turn: _Turn, state: JobState | None, trouble: str) -> None:
        now = datetime.now(UTC)
        if state is None and turn.wanted != "run":
            state = "paused" if turn.wanted == "pause" else "cancelled"
        elif state is None and trouble:
            wait_s = retry_after_s(job.attempts)
            now += timedelta(seconds=wait_s)
            _log.warning("job %s waits %.0f s: %s", job.id, wait_s, trouble)
        _log.info("job %s is %s: %s", job.id, state or "waiting", turn.report.progress)
        self._jobs.leave(job, self._worker, state or "waiting", now, turn.report, trouble=trouble)


def retry_after_s(attempts: int) -> float:
    """Seconds until a job that has failed so often before, because a service was away, is tried again."""
    return _WAITS_S[min(attempts, len(_WAITS_S) - 1)]


def _keep(turn: _Turn, ended: threading.Event) -> None:
    while not ended.wait(_RENEWED_EVERY_S):
        turn.renew()
