"""Jobs of ingestion in MongoDB, which workers take by lease.

jobs  _id, kind, source_id, created_at, state, wanted, open (whether anything is left to do), progress (as it is now),
      checkpoint {crawl, progress, report, unlisted} (from where it goes on), report, unlisted (at the end), trouble,
      attempts, starts, worker, lease_until, not_before, finished_at, expires_at (mongod deletes ended ones then)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from chatproxy.adapters.mongo import UNFLUSHED, Database, Document, again_if_broken
from chatproxy.core.sources import Job, JobState, Line, Progress, Report, Wanted

_KEPT = timedelta(days=30)
_LONGEST_WAIT = timedelta(hours=1)
_OPEN_STATES = ("waiting", "running", "paused")
_BRIEF = {"checkpoint.crawl": 0}
_WITHOUT_REPORT = {"checkpoint": 0, "report": 0}


class MongoJobs:
    """Implements core.knowledge_ports.JobStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job: Job) -> Job:
        """See core.knowledge_ports.JobStore; an index lets one job of a kind be open for a source."""
        document = {
            "_id": job.id,
            "kind": job.kind,
            "source_id": job.source_id,
            "created_at": job.created_at,
            "state": "waiting",
            "wanted": "run",
            "open": True,
            "progress": asdict(job.progress),
            "checkpoint": None,
            "report": [],
            "unlisted": 0,
            "trouble": "",
            "attempts": 0,
            "starts": 0,
            "worker": "",
            "lease_until": None,
            "not_before": job.created_at,
            "finished_at": None,
        }
        with self._database.collection("jobs") as jobs:
            try:
                again_if_broken(lambda: jobs.insert_one(document))
            except DuplicateKeyError:
                where = {"kind": job.kind, "source_id": job.source_id, "open": True}
                found = jobs.find_one(where, _BRIEF) or jobs.find_one({"_id": job.id}, _BRIEF)
                return _job(found) if found else self.add(job)  # it ended in this very moment
        return job

    def find(self, job_id: str) -> Job | None:
        """See core.knowledge_ports.JobStore."""
        with self._database.collection("jobs") as jobs:
            found = again_if_broken(lambda: jobs.find_one({"_id": job_id}, _BRIEF))
        return _job(found) if found else None

    def latest(self, source_id: str, *, report: bool) -> Job | None:
        """See core.knowledge_ports.JobStore."""
        order, told = [("created_at", -1), ("_id", -1)], _BRIEF if report else _WITHOUT_REPORT
        with self._database.collection("jobs") as jobs:
            found = again_if_broken(lambda: jobs.find_one({"source_id": source_id}, told, sort=order))
        return _job(found) if found else None

    def open(self) -> Sequence[Job]:
        """See core.knowledge_ports.JobStore."""
        with self._database.collection("jobs") as jobs:
            oldest = jobs.find({"open": True}, _BRIEF).sort([("created_at", 1), ("_id", 1)])
            found = again_if_broken(lambda: list(oldest.clone()))
        return [_job(document) for document in found]

    def recent(self, count: int) -> Sequence[Job]:
        """See core.knowledge_ports.JobStore."""
        with self._database.collection("jobs") as jobs:
            newest = jobs.find({}, _WITHOUT_REPORT).sort([("created_at", -1), ("_id", -1)]).limit(count)
            found = again_if_broken(lambda: list(newest.clone()))
        return [_job(document) for document in found]

    def want(self, job_id: str, wanted: Wanted) -> Job | None:
        """See core.knowledge_ports.JobStore."""
        at_once: dict[Wanted, JobState] = {"run": "waiting", "pause": "paused", "cancel": "cancelled"}
        changed: Document = {"wanted": wanted, "state": at_once[wanted], "open": wanted != "cancel"}
        if wanted == "run":
            changed.update({"attempts": 0, "starts": 0})
        if wanted == "cancel":
            changed.update(_ended(datetime.now(UTC)))
        with self._database.collection("jobs") as jobs:
            for where, change in (
                ({"state": {"$in": ["waiting", "paused"]}}, changed),
                ({"state": "running"}, {"wanted": wanted}),
            ):
                found = jobs.find_one_and_update(
                    {"_id": job_id, **where}, {"$set": change}, _BRIEF, return_document=ReturnDocument.AFTER
                )
                if found:
                    return _job(found)
        return None

    def take(self, worker: str, moment: datetime, until: datetime) -> Job | None:
        """See core.knowledge_ports.JobStore."""
        # Nothing is put off or leased for so long: that was a clock that was ahead.
        ahead = {"$gt": moment + _LONGEST_WAIT}
        waiting = {"state": "waiting", "$or": [{"not_before": {"$lte": moment}}, {"not_before": ahead}]}
        left = [{"worker": worker}, {"lease_until": {"$lt": moment}}, {"lease_until": ahead}]
        orphaned = {"state": "running", "$or": left}
        leased = {"state": "running", "worker": worker, "lease_until": until, "trouble": ""}
        with self._database.collection("jobs") as jobs:
            found = jobs.find_one_and_update(
                {"open": True, "$or": [waiting, orphaned]},
                {"$set": leased, "$inc": {"starts": 1}},
                sort=[("created_at", 1), ("_id", 1)],
                return_document=ReturnDocument.AFTER,
            )
        return _job(found, taken=True) if found else None

    def renew(self, job_id: str, worker: str, until: datetime, progress: Progress) -> Wanted | None:
        """See core.knowledge_ports.JobStore."""
        changed = {"lease_until": until, "progress": asdict(progress)}
        with self._database.collection("jobs") as jobs:
            found = jobs.with_options(write_concern=UNFLUSHED).find_one_and_update(
                _held(job_id, worker), {"$set": changed}, {"wanted": 1}
            )
        wanted: Wanted | None = found["wanted"] if found else None
        return wanted

    def checkpoint(self, job: Job, worker: str, crawl: Mapping[str, object], report: Report) -> None:
        """See core.knowledge_ports.JobStore."""
        stored = {"crawl": dict(crawl), **_reported(report)}
        changed = {"checkpoint": stored, "progress": stored["progress"], "attempts": 0, "starts": 0}
        with self._database.collection("jobs") as jobs:
            again_if_broken(lambda: jobs.update_one(_held(job.id, worker), {"$set": changed}))

    def leave(
        self, job: Job, worker: str, state: JobState, moment: datetime, report: Report, *, trouble: str = ""
    ) -> None:
        """See core.knowledge_ports.JobStore."""
        changed: Document = {"state": state, "worker": "", "lease_until": None, "trouble": trouble, "starts": 0}
        if state in _OPEN_STATES:
            # What was done since the checkpoint is done, and told, again.
            changed["not_before"] = moment
        else:
            changed.update(_reported(report))
            changed.update({"open": False, **_ended(moment)})
        update = {"$set": changed, **({"$inc": {"attempts": 1}} if trouble else {})}
        with self._database.collection("jobs") as jobs:
            again_if_broken(lambda: jobs.update_one(_held(job.id, worker), update))


def _ended(moment: datetime) -> Document:
    return {"checkpoint": None, "finished_at": moment, "expires_at": moment + _KEPT}


def _held(job_id: str, worker: str) -> Document:
    return {"_id": job_id, "worker": worker, "state": "running"}


def _reported(report: Report) -> dict[str, Any]:
    return {
        "progress": asdict(report.progress),
        "report": [asdict(line) for line in report.lines],
        "unlisted": report.unlisted,
    }


def _job(document: Document, *, taken: bool = False) -> Job:
    """A job as people see it; `taken`, as it goes on: with the progress of its checkpoint."""
    checkpoint = document.get("checkpoint") or {}
    told = checkpoint or document
    progress = (checkpoint.get("progress", {})) if taken else document["progress"]
    return Job(
        document["_id"],
        document["kind"],
        document["source_id"],
        document["created_at"],
        document["state"],
        document["wanted"],
        Progress(**progress),
        tuple(Line(**line) for line in told.get("report", ())),
        told["unlisted"],
        document["trouble"],
        document["attempts"],
        document["starts"],
        document["finished_at"],
        checkpoint.get("crawl", {}),
    )
