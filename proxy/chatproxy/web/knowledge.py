"""/api/v1/knowledge, for the owner: what bots answer from is added, looked at, read again, taken away; the jobs for it.

Work is done by the worker: what begins it answers 202 with the job, and GET .../jobs/ID tells how far it is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.generation import Waiting
from chatproxy.core.library import Library
from chatproxy.core.ports import Bots
from chatproxy.core.sources import Job, Wanted
from chatproxy.core.telling import told_failed, told_job, told_shelf
from chatproxy.errors import Busy, InvalidRequest
from chatproxy.web import ids, query
from chatproxy.web.auth import needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.clients import watch
from chatproxy.web.knowledge_given import Given, Uploads, as_given, hours
from chatproxy.web.responses import json_response
from chatproxy.web.sse import encode, named_error, stream

_POLLED_EVERY_S = 0.5
# Each takes one of the server's threads for as long as its job takes.
_MOST_WATCHERS = 8


def blueprint(library: Library, bots: Bots, uploads: Uploads) -> Blueprint:
    """The routes; a bot stands for its first collection."""
    routes = Blueprint("knowledge", __name__)
    given, watchers = Given(library, bots, uploads), threading.BoundedSemaphore(_MOST_WATCHERS)

    @routes.get("/api/v1/knowledge/sources")
    @needs("admin")
    def sources() -> Response:
        query.check_known()
        return json_response({"sources": [told_shelf(shelf) for shelf in library.shelves()]})

    @routes.post("/api/v1/knowledge/sources")
    @needs("admin")
    def add() -> Response:
        query.check_known()
        source, job = given.add()
        return json_response({"source": told_shelf(library.shelf(source.id)), "job": told_job(job)}, 202)

    @routes.get("/api/v1/knowledge/sources/<source_id>")
    @needs("admin")
    def source(source_id: str) -> Response:
        query.check_known()
        key = ids.source_id(source_id)
        failed = [told_failed(record) for record in library.failed(key)]
        return json_response({**told_shelf(library.shelf(key), report=True), "failed": failed})

    @routes.patch("/api/v1/knowledge/sources/<source_id>")
    @needs("admin")
    def schedule(source_id: str) -> Response:
        query.check_known()
        key = ids.source_id(source_id)
        body = read_object(request, known=("every_hours",))
        if "every_hours" not in body:
            raise InvalidRequest("every_hours: is missing; null stands for never")
        with as_given():
            library.read_every(key, hours(Fields(body)))
        return json_response(told_shelf(library.shelf(key)))

    @routes.delete("/api/v1/knowledge/sources/<source_id>")
    @needs("admin")
    def remove(source_id: str) -> Response:
        query.check_known()
        return _begun(library.remove(ids.source_id(source_id)))

    @routes.post("/api/v1/knowledge/sources/<source_id>/sync")
    @needs("admin")
    def sync(source_id: str) -> Response:
        query.check_known()
        return _begun(library.sync(ids.source_id(source_id)))

    @routes.post("/api/v1/knowledge/rebuild")
    @needs("admin")
    def rebuild() -> Response:
        query.check_known()
        return _begun(library.rebuild())

    @routes.get("/api/v1/knowledge/jobs")
    @needs("admin")
    def jobs() -> Response:
        query.check_known("limit")
        limit, _ = query.paging()
        return json_response({"jobs": [told_job(job) for job in library.recent_jobs(limit)]})

    @routes.get("/api/v1/knowledge/jobs/<job_id>")
    @needs("admin")
    def job(job_id: str) -> Response:
        query.check_known()
        found = library.job(ids.job_id(job_id))
        if request.accept_mimetypes.best_match(("application/json", "text/event-stream")) != "text/event-stream":
            return json_response(told_job(found, report=True))
        if not watchers.acquire(blocking=False):
            raise Busy(public=f"{_MOST_WATCHERS} jobs are being watched already.", retry_after=5)
        response = stream(_progress(library, found), _event, named_error, watch(request.environ))
        response.call_on_close(watchers.release)
        return response

    @routes.post("/api/v1/knowledge/jobs/<job_id>/pause")
    @needs("admin")
    def pause(job_id: str) -> Response:
        return want(job_id, "pause")

    @routes.post("/api/v1/knowledge/jobs/<job_id>/resume")
    @needs("admin")
    def resume(job_id: str) -> Response:
        return want(job_id, "run")

    @routes.post("/api/v1/knowledge/jobs/<job_id>/cancel")
    @needs("admin")
    def cancel(job_id: str) -> Response:
        return want(job_id, "cancel")

    def want(job_id: str, wanted: Wanted) -> Response:
        query.check_known()
        return json_response(told_job(library.want(ids.job_id(job_id), wanted)))

    return routes


def _begun(job: Job) -> Response:
    return json_response({"job": told_job(job)}, 202)


def _progress(library: Library, job: Job) -> Generator[Job | Waiting]:
    """The job each time that it has come further, and at its end."""
    yield job
    while job.open:
        time.sleep(_POLLED_EVERY_S)
        last, job = job, library.job(job.id)
        yield Waiting() if told_job(job) == told_job(last) else job


def _event(event: Job | Waiting) -> bytes:
    if isinstance(event, Waiting):
        return b""
    told: dict[str, Any] = told_job(event, report=not event.open)
    return encode("progress" if event.open else "end", told)
