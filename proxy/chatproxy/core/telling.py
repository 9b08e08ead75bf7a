"""Sources and jobs as JSON shows them, to the API's clients and on the command line alike."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from chatproxy.core.library import Shelf
from chatproxy.core.sources import Job, Record, Source

# What a scope's fields are called where people give them -> what they are called in it.
SETTINGS = {
    "include": "include",
    "exclude": "exclude",
    "depth": "depth",
    "pages": "most_pages",
    "rate": "rate",
    "allow_private": "allowed_private",
}


def told_shelf(shelf: Shelf, *, report: bool = False) -> dict[str, Any]:
    """A source with its counts and its latest job; with `report` also that job's."""
    source = shelf.source
    return {
        "id": source.id,
        "collection": source.collection,
        "kind": source.kind,
        "location": source.location,
        "language": source.language,
        "settings": _settings(source),
        "pages": shelf.counts.pages,
        "chunks": shelf.counts.chunks,
        "errors": shelf.counts.errors,
        "every_hours": source.every_hours,
        "created_at": told_time(source.created_at),
        "last_sync": told_time(source.last_sync),
        "state": source.state,
        "job": told_job(shelf.job, report=report) if shelf.job else None,
    }


def told_job(job: Job, *, report: bool = False) -> dict[str, Any]:
    """A job; with `report` what it has to say about single addresses."""
    told: dict[str, Any] = {
        "id": job.id,
        "kind": job.kind,
        "source": job.source_id,
        "state": job.state,
        "wanted": job.wanted,
        "progress": asdict(job.progress),
        "trouble": job.trouble,
        "created_at": told_time(job.created_at),
        "finished_at": told_time(job.finished_at),
    }
    if report:
        told["report"] = [asdict(line) for line in job.report]
        told["unlisted"] = job.unlisted
    return told


def told_failed(record: Record) -> dict[str, Any]:
    """A document that could not be read, and why."""
    return {
        "url": record.url,
        "code": record.error_code,
        "message": record.error_message,
        "tried_at": told_time(record.synced_at),
    }


def told_time(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the second."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else None


def _settings(source: Source) -> dict[str, Any] | None:
    """What of a website is read, under the names that it is given with; None for a file."""
    if source.kind != "website":
        return None
    return {shown: source.scope.get(stored) for shown, stored in SETTINGS.items()}
