"""The pages of knowledge: collections and their sources, what is being read, and a source with its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from flask import Blueprint, g, request
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response as AnyResponse

from chatproxy.core.library import Library, Shelf
from chatproxy.core.ports import Bots
from chatproxy.core.sources import NOTICES, Job, Line, Wanted
from chatproxy.errors import InvalidRequest, SourceBusy
from chatproxy.web import ids
from chatproxy.web.body import Fields
from chatproxy.web.console import given, knowledge_words
from chatproxy.web.console.shell import Page, about, acts, done, page
from chatproxy.web.knowledge_given import LARGEST_FORM, Given, Uploads, as_given, hours

_MOST_JOBS = 10


def blueprint(library: Library, bots: Bots, uploads: Uploads) -> Blueprint:
    """The routes."""
    routes = Blueprint("knowledge", __name__)
    taken = Given(library, bots, uploads)

    @routes.get("/knowledge")
    def listing() -> Page:
        return shown()

    @routes.post("/knowledge/websites")
    @acts("source.add")
    def add_website() -> Page | AnyResponse:
        try:
            source, _ = taken.website(Fields(_website()))
        except (InvalidRequest, SourceBusy) as error:
            return shown(error.status, website_wrong=given.wrong(error, knowledge_words.LABELS))
        # Not before: an address that is refused may hold a password.
        about(source.location[:200])
        return done(f"/knowledge/{source.id}")

    def begin_upload() -> None:
        uploads.begin()
        g.uploading = True

    @routes.teardown_app_request
    def end_upload(_: BaseException | None) -> None:
        # Also where the form was refused before it came to the view.
        if g.pop("uploading", False):
            uploads.end()

    @routes.post("/knowledge/files")
    @acts("source.upload", most_bytes=LARGEST_FORM, first=begin_upload)
    def upload() -> Page | AnyResponse:
        try:
            file = _file()
            about(str(file.filename)[:200])
            fields = given.told({name: given.text(name, 100) for name in ("collection", "language")})
            source, _ = taken.file(file, Fields(fields))
        except (InvalidRequest, SourceBusy) as error:
            return shown(error.status, file_wrong=given.wrong(error, knowledge_words.LABELS))
        return done(f"/knowledge/{source.id}")

    @routes.post("/knowledge/rebuild")
    @acts("knowledge.rebuild")
    def rebuild() -> AnyResponse:
        library.rebuild()
        return done("/knowledge")

    @routes.get("/knowledge/<source_id>")
    def source(source_id: str) -> Page:
        return details(ids.source_id(source_id))

    @routes.post("/knowledge/<source_id>/sync")
    @acts("source.sync")
    def sync(source_id: str) -> AnyResponse:
        about(source_id)
        library.sync(ids.source_id(source_id))
        return done(f"/knowledge/{source_id}")

    @routes.post("/knowledge/<source_id>/schedule")
    @acts("source.schedule")
    def schedule(source_id: str) -> Page | AnyResponse:
        about(source_id)
        key = ids.source_id(source_id)
        try:
            every = given.whole("every_hours")
            with as_given():
                library.read_every(key, hours(Fields(given.told({"every_hours": every}))))
        except InvalidRequest as error:
            return details(key, 400, wrong=given.wrong(error, knowledge_words.LABELS))
        return done(f"/knowledge/{source_id}")

    @routes.post("/knowledge/<source_id>/remove")
    @acts("source.remove")
    def remove(source_id: str) -> AnyResponse:
        about(source_id)
        library.remove(ids.source_id(source_id))
        return done("/knowledge")

    def wanting(what: str, wanted: Wanted) -> Callable[[str], AnyResponse]:
        @acts(f"job.{what}")
        def want(job_id: str) -> AnyResponse:
            about(job_id)
            job = library.want(ids.job_id(job_id), wanted)
            beside = request.form.get("from") == "source" and job.source_id
            return done(f"/knowledge/{job.source_id}" if beside else "/knowledge")

        return want

    for what, wanted in (("pause", "pause"), ("resume", "run"), ("cancel", "cancel")):
        view = wanting(what, wanted)  # type: ignore[arg-type]  # mypy makes plain text of a tuple's literals
        routes.add_url_rule(f"/knowledge/jobs/<job_id>/{what}", what, view, methods=["POST"])

    def shown(status: int = 200, *, website_wrong: str = "", file_wrong: str = "") -> Page:
        shelves = sorted(library.shelves(), key=lambda shelf: (shelf.source.collection, shelf.source.created_at))
        collections = [(name, list(each)) for name, each in groupby(shelves, key=lambda shelf: shelf.source.collection)]
        names = {shelf.source.id: shelf.source.location for shelf in shelves}
        wanted = {name for bot in bots.all() for name in bot.knowledge}
        return page(
            "knowledge.html",
            status,
            collections=collections,
            empty=sorted(wanted - {name for name, _ in collections}),
            readers={name: [bot for bot in bots.all() if name in bot.knowledge] for name, _ in collections},
            jobs=[(job, names.get(job.source_id, "everything")) for job in library.open_jobs()],
            recent=[(job, names.get(job.source_id, "everything")) for job in _ended(library.recent_jobs(_MOST_JOBS))],
            suggested=sorted(wanted | {name for name, _ in collections}),
            website_wrong=website_wrong,
            file_wrong=file_wrong,
            given_website=given.given() if website_wrong else {},
            given_file=given.given() if file_wrong else {},
            words=knowledge_words,
        )

    def details(key: str, status: int = 200, *, wrong: str = "") -> Page:
        shelf = library.shelf(key)
        report = shelf.job.report if shelf.job else ()
        return page(
            "source.html",
            status,
            shelf=shelf,
            source=shelf.source,
            job=shelf.job,
            failed=library.failed(key),
            errors=_by_code(line for line in report if line.code not in NOTICES),
            notices=_by_code(line for line in report if line.code in NOTICES),
            settings=_settings(shelf),
            wrong=wrong,
            every=request.form.get("every_hours", "") if wrong else shelf.source.every_hours or "",
            words=knowledge_words,
        )

    return routes


def _file() -> FileStorage:
    file = request.files.get("file")
    if file is None or not file.filename:
        raise InvalidRequest("file: choose one")
    return file


def _website() -> dict[str, object]:
    """The form as POST /api/v1/knowledge/sources takes it."""
    texts = {name: given.text(name, 3000) for name in ("url", "collection", "language")}
    patterns = {name: given.lines(name) for name in ("include", "exclude", "allow_private")}
    numbers = {name: given.whole(name) for name in ("depth", "pages", "every_hours")}
    return given.told({**texts, **patterns, **numbers, "rate": given.number("rate")})


def _ended(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if not job.open]


def _by_code(lines: Iterable[Line]) -> list[tuple[str, list[Line]]]:
    """Lines under what they say in common, the most frequent first."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.code, []).append(line)
    return sorted(found.items(), key=lambda pair: -len(pair[1]))


def _settings(shelf: Shelf) -> list[tuple[str, str]]:
    """What of a website is read, as (label, value)."""
    told = []
    for name, stored in knowledge_words.SCOPE:
        value = shelf.source.scope.get(stored)
        if value not in (None, (), []):
            shown = ", ".join(value) if isinstance(value, list | tuple) else f"{value:,g}"
            told.append((knowledge_words.LABELS[name], shown))
    return told
