"""The command line for backup and restore, run inside the worker's container: `python -m chatproxy data ...`.

    data dump      all of MongoDB as of now, and Chroma's vectors, as a tar stream on stdout (core/dumping.py); ends
                   with its stdin, where a line has come from there
    data load      the same from stdin, data.json first, into empty stores; makes the word index anew (core/loading.py)
    data compare   what differs from the data.json on stdin, as JSON; exit status 0 only where nothing does
    data done AT   note that a backup was finished at that time, as 2026-11-22T08:15:00Z

A composition root like worker.py. Exit status and findings on stderr are as in commands.py. Nothing is left behind by a
command that is killed, but for what `load` has brought so far.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from chatproxy import building
from chatproxy.adapters import mongo_metadata
from chatproxy.adapters.chroma import Chroma
from chatproxy.adapters.embeddings import Embeddings
from chatproxy.adapters.mongo_backups import MongoBackups
from chatproxy.adapters.mongo_refill import MongoRefill
from chatproxy.adapters.mongo_snapshot import MongoSnapshots
from chatproxy.adapters.sole_worker import SoleWorker
from chatproxy.adapters.words import WordIndex
from chatproxy.core.carried import Refused
from chatproxy.core.comparing import Comparing
from chatproxy.core.dumping import Dumping
from chatproxy.core.loading import Loading
from chatproxy.core.member_stream import MemberStream
from chatproxy.core.told import read_told
from chatproxy.errors import ChatProxyError, ConfigurationError, SearchUnavailable
from chatproxy.findings import not_done
from chatproxy.settings import Settings


class _ReaderGone(Exception):
    """Nobody takes what is dumped any more."""


def add_parser(families: Any) -> None:
    """Add the family `data` to the proxy's command line."""
    parser = families.add_parser("data", help="all that is stored, for backup and restore")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("dump", help="write it to stdout as a tar stream")
    commands.add_parser("load", help="bring it back from stdin, into empty stores")
    commands.add_parser("compare", help="print what differs from the data.json on stdin")
    commands.add_parser("done", help="note that a backup was finished").add_argument("at", metavar="AT")


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run one command; returns its exit status."""
    # Backups look for trouble where they are made, restores where they bring back.
    family = "restore" if options.command == "load" else "backup"
    try:
        settings = Settings.from_environment(environment)
        return _COMMANDS[options.command](settings, options)
    except ConfigurationError as error:
        return not_done("setting.invalid", str(error), "correct the setting that is named")
    except Refused as error:
        return not_done(error.finding, error.fact, error.hint)
    except SearchUnavailable as error:
        hint = "`make status` shows whether Chroma and the embeddings run; try again when they do"
        return not_done(f"{family}.vectors_unavailable", str(error), hint)
    except ChatProxyError as error:
        hint = "`make status` shows whether MongoDB runs; try again when it does"
        return not_done(f"{family}.storage_unavailable", str(error), hint)
    except _ReaderGone:
        _tell_reader_gone()
        return 1


def _dump(settings: Settings, _: argparse.Namespace) -> int:
    threading.Thread(target=_end_with_the_reader, name="reader", daemon=True).start()
    embeddings = Embeddings(settings.embeddings_url)
    chroma = Chroma(settings.chroma_url, token=settings.chroma_token, model=embeddings.model)
    with MongoSnapshots(building.database(settings, as_it_is=True)).taken() as snapshot:
        dumping = Dumping(snapshot, chroma, embeddings, WordIndex(settings.words_dir), mongo_metadata.member)
        dumping.check()
        dumping.write(MemberStream(_writer(sys.stdout.fileno()), snapshot.moment.timestamp()))
    return 0


def _end_with_the_reader() -> None:
    """End this program when stdin ends, if anything has come from there: a reader holds it open that is to be seen.

    In a container that is all there is to see of it. Docker goes on taking what is written to one that is gone, so the
    dump would be made to its end for nobody, beside that of the backup which is started next.
    """
    stdin = sys.stdin.fileno()
    with contextlib.suppress(OSError):
        if not os.read(stdin, 1):
            return
        while os.read(stdin, 4096):
            pass
    _tell_reader_gone()
    # Nothing is left behind by that, and the thread that dumps waits for what it reads or writes.
    os._exit(1)


def _tell_reader_gone() -> None:
    # Whoever has read says why; stderr may have gone with it.
    with contextlib.suppress(OSError):
        not_done("backup.reader_gone", "nobody reads the dump any more", "start the backup again")


def _load(settings: Settings, _: argparse.Namespace) -> int:
    try:
        # The word index has one writer; held until the end of this process.
        SoleWorker(settings.words_dir)
    except ConfigurationError as error:
        raise Refused("restore.worker_runs", str(error), "stop the worker, and try again") from None
    refill = MongoRefill(building.database(settings, as_it_is=True))
    loading = Loading(refill, _shelf(settings), WordIndex(settings.words_dir), _say)
    loading.check()
    loading.read(sys.stdin.buffer)
    return 0


def _compare(settings: Settings, _: argparse.Namespace) -> int:
    told = read_told(sys.stdin.buffer.read())
    with MongoSnapshots(building.database(settings, as_it_is=True)).taken() as snapshot:
        words = WordIndex(settings.words_dir)
        found = Comparing(snapshot, _shelf(settings), words, datetime.now(UTC)).differences(told)
    print(json.dumps(found, ensure_ascii=False))
    return 1 if found["differences"] else 0


def _done(settings: Settings, options: argparse.Namespace) -> int:
    try:
        moment = datetime.fromisoformat(options.at)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refused(
            "backup.moment_invalid",
            f"{options.at[:40]!r} is no time with its zone",
            "as 2026-11-22T08:15:00Z",
        )
    MongoBackups(building.database(settings, as_it_is=True)).done(moment.astimezone(UTC))
    return 0


_COMMANDS: Mapping[str, Callable[[Settings, argparse.Namespace], int]] = {
    "dump": _dump,
    "load": _load,
    "compare": _compare,
    "done": _done,
}


def _shelf(settings: Settings) -> Callable[[str], Chroma]:
    return lambda model: Chroma(settings.chroma_url, token=settings.chroma_token, model=lambda: model)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _writer(descriptor: int) -> Callable[[bytes], None]:
    """Unbuffered: what could not be written is not tried again when Python ends."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BrokenPipeError:
                raise _ReaderGone from None

    return write
