"""The command line for sources of knowledge, run inside the worker's container: `python -m chatproxy sources ...`.

Results go to stdout: lines of JSON from `watch` and with --json, else text for people. Exit status and findings on
stderr are as in commands.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from chatproxy.core.audit import OPERATOR
from chatproxy.core.library import LARGEST_FILE, Library, Shelf, collection_of, scope_from
from chatproxy.core.sources import Job
from chatproxy.core.telling import told_failed, told_job, told_shelf, told_time
from chatproxy.errors import ChatProxyError, ConfigurationError, InvalidRequest, JobEnded, NotFound, SourceBusy
from chatproxy.findings import not_done
from chatproxy.parts import audit, bot_files, library
from chatproxy.settings import Settings

_HINTS = {
    "start": "as URL=https://example.com/docs",
    "collection": "as COLLECTION=site",
    "bot": "as `knowledge: [site]` in compose/bots/BOT.yaml, or give COLLECTION=site",
    "include": "as INCLUDE='/docs/*' or INCLUDE='re:/[0-9]+$'; several with commas between",
    "exclude": "as EXCLUDE='/tags/*'; several with commas between",
    "depth": "as DEPTH=3: links between the start and a page",
    "most_pages": "as PAGES=500",
    "every": "as EVERY=24: hours between two readings",
    "allowed_private": "as ALLOW_PRIVATE=intranet.example or ALLOW_PRIVATE=10.0.0.5:8080",
    "language": "as LANGUAGE=de",
    "name": "give the file another name",
    "file": "look at the file, and give it again",
    "rate": "as RATE=1: seconds between two requests",
}
_POLLED_EVERY_S = 0.5
# What changes nothing.
_LOOKS = frozenset(("list", "show", "watch"))


def add_parser(families: Any) -> None:
    """Add the family `sources` to the proxy's command line."""
    commands = families.add_parser("sources", help="sources of knowledge").add_subparsers(dest="command", required=True)
    website = commands.add_parser("add-url", help="read a website; prints its job")
    website.add_argument("url")
    for name in ("include", "exclude", "allow-private"):
        website.add_argument(f"--{name}", default="", help="comma-separated")
    for name in ("depth", "pages", "every"):
        website.add_argument(f"--{name}", metavar="N")
    website.add_argument("--rate", metavar="S", help="seconds between two requests")
    website.add_argument("--within", choices=("host", "path"))
    website.add_argument("--follow", choices=("links", "sitemap", "both"))
    file = commands.add_parser("add-file", help="read a file that is given on stdin; prints its job")
    file.add_argument("--name", required=True)
    file.add_argument("--media-type", default="")
    for each in (website, file):
        each.add_argument("--collection", default="site")
        each.add_argument("--language", default="")
    listing = commands.add_parser("list", help="all sources")
    show = commands.add_parser("show", help="one source and the report of its last job; or a job")
    for each in (listing, show):
        each.add_argument("--json", action="store_true")
    for name, argument, what in (
        ("watch", "job", "lines of JSON until it has ended"),
        ("sync", "source", "read it again"),
        ("remove", "source", "take it away with all that was made of it"),
        ("pause", "job", "stop it for now"),
        ("resume", "job", "go on with it"),
        ("cancel", "job", "end it; what was read stays"),
    ):
        commands.add_parser(name, help=what).add_argument("id", metavar=argument)
    show.add_argument("id", metavar="source|job")
    schedule = commands.add_parser("schedule", help="read a website again every so many hours")
    schedule.add_argument("id", metavar="source")
    schedule.add_argument("--every", metavar="N", required=True, help="hours; 0 = not any more")
    commands.add_parser("rebuild", help="make vectors and word index anew from what is stored")
    commands.add_parser("collection", help="print a bot's first collection").add_argument("bot")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run one command; returns its exit status."""
    try:
        settings, given = Settings.from_environment(environment), vars(options)
        if options.command == "collection":
            print(collection_of(bot_files(settings).get(options.bot)))
        else:
            _COMMANDS[options.command](library(settings), options)
            if options.command not in _LOOKS:
                subject = next((str(given[name]) for name in ("id", "url", "name") if name in given), "")
                audit(settings).note(OPERATOR, "", f"source.{options.command}", subject)
    except ConfigurationError as error:
        return not_done("setting.invalid", str(error), "correct the setting that is named")
    except InvalidRequest as error:
        field, _, wrong = error.public.partition(": ")
        return not_done(f"ingest.{field}_invalid", f"{field} {wrong}", _HINTS.get(field, "correct it"))
    except NotFound as error:
        return not_done("sources.unknown", error.public.rstrip("."), "`make sources` shows what there is")
    except JobEnded as error:
        return not_done("sources.job_ended", error.public.rstrip("."), "SYNC=source begins another one")
    except SourceBusy as error:
        return not_done("sources.busy", error.public.rstrip("."), "`make sources` shows when it has gone")
    except ChatProxyError as error:
        hint = "`make status` shows whether MongoDB runs; try again when it does"
        return not_done("sources.storage_unavailable", str(error), hint)
    return 0


def _add_url(shelves: Library, options: argparse.Namespace) -> None:
    scope = scope_from(
        options.url,
        include=_words(options.include),
        exclude=_words(options.exclude),
        allowed_private=_words(options.allow_private),
        depth=_whole("depth", options.depth),
        most_pages=_whole("most_pages", options.pages),
        rate=_number("rate", options.rate),
        within=options.within,
        follow=options.follow,
    )
    hours = _whole("every", options.every)
    source, job = shelves.add_website(options.collection, scope, language=options.language, every_hours=hours)
    _print({"source": source.id, "job": job.id, "collection": source.collection})


def _add_file(shelves: Library, options: argparse.Namespace) -> None:
    # One byte more than may be: enough to be refused, and no more memory than that.
    data = sys.stdin.buffer.read(LARGEST_FILE + 1)
    source, job = shelves.add_file(
        options.collection, options.name, data, media_type=options.media_type, language=options.language
    )
    _print({"source": source.id, "job": job.id, "collection": source.collection})


def _watch(shelves: Library, options: argparse.Namespace) -> None:
    told = ""
    while True:
        job = shelves.job(options.id)
        line = json.dumps(told_job(job, report=not job.open), ensure_ascii=False)
        if line != told:
            print(line, flush=True)
            told = line
        if not job.open or job.state == "paused":
            return
        time.sleep(_POLLED_EVERY_S)


def _list(shelves: Library, options: argparse.Namespace) -> None:
    found = shelves.shelves()
    if options.json:
        _print([told_shelf(shelf) for shelf in found])
        return
    if not found:
        print("There are no sources. `make ingest URL=https://example.com` makes one.")
    for shelf in found:
        print(_in_words(shelf))
    for job in shelves.open_jobs():
        if job.kind == "rebuild":
            print(f"rebuild  job {job.id} {job.state}  {job.progress.chunks} chunks, {job.progress.todo} left")


def _show(shelves: Library, options: argparse.Namespace) -> None:
    try:
        shelf: Shelf | None = shelves.shelf(options.id)
    except NotFound:
        shelf = None
    job = shelf.job if shelf else shelves.job(options.id)
    if options.json:
        told = told_shelf(shelf) if shelf else {}
        failed = {"failed": [told_failed(record) for record in shelves.failed(options.id)]} if shelf else {}
        _print({**told, **failed, "report": told_job(job, report=True) if job else None})
        return
    if shelf:
        print(_in_words(shelf))
    if job is None:
        return
    progress = job.progress
    print(
        f"job {job.id} ({job.kind}) {job.state}: {progress.read} read, {progress.unchanged} unchanged, "
        f"{progress.removed} removed, {progress.errors} errors, {progress.todo} left{_trouble(job)}"
    )
    for line in job.report:
        print(f"  {line.code:20} {line.url}  {line.message}")
    if job.unlisted:
        print(f"  and {job.unlisted} more")


def _sync(shelves: Library, options: argparse.Namespace) -> None:
    _print({"source": options.id, "job": shelves.sync(options.id).id})


def _schedule(shelves: Library, options: argparse.Namespace) -> None:
    hours = _whole("every", options.every)
    if hours is None:
        raise InvalidRequest("every: is missing; 0 = not any more.")
    shelves.read_every(options.id, hours or None)
    _print(told_shelf(shelves.shelf(options.id)))


def _remove(shelves: Library, options: argparse.Namespace) -> None:
    _print({"source": options.id, "job": shelves.remove(options.id).id})


def _rebuild(shelves: Library, options: argparse.Namespace) -> None:
    _print({"job": shelves.rebuild().id})


def _pause(shelves: Library, options: argparse.Namespace) -> None:
    _print(told_job(shelves.want(options.id, "pause")))


def _resume(shelves: Library, options: argparse.Namespace) -> None:
    _print(told_job(shelves.want(options.id, "run")))


def _cancel(shelves: Library, options: argparse.Namespace) -> None:
    _print(told_job(shelves.want(options.id, "cancel")))


_COMMANDS = {
    "add-url": _add_url,
    "add-file": _add_file,
    "watch": _watch,
    "list": _list,
    "show": _show,
    "sync": _sync,
    "schedule": _schedule,
    "remove": _remove,
    "rebuild": _rebuild,
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
}


def _in_words(shelf: Shelf) -> str:
    source, counts = shelf.source, shelf.counts
    last = f"last read {told_time(source.last_sync)} ({source.state})" if source.last_sync else "not read yet"
    again = f", every {source.every_hours} h" if source.every_hours else ""
    job = shelf.job
    doing = f", job {job.id} {job.state}{_trouble(job)}" if job and job.open else ""
    return (
        f"{source.id}  {source.collection}  {source.location}  {counts.pages} pages, {counts.chunks} chunks, "
        f"{counts.errors} errors, {last}{again}{doing}"
    )


def _trouble(job: Job) -> str:
    return f" ({job.trouble})" if job.trouble else ""


def _print(told: Any) -> None:
    print(json.dumps(told, ensure_ascii=False), flush=True)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _whole(field: str, text: str | None) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise InvalidRequest(f"{field}: must be a whole number, not {text[:40]!r}.")
    return int(text)


def _number(field: str, text: str | None) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest(f"{field}: must be a number, not {text[:40]!r}.") from None
