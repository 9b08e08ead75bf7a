"""The worker, `python -m chatproxy worker`: builds what reads websites and files, and lets it work until SIGTERM.

Beside app.py the only composition root: what only the worker's image has (see requirements-worker.in) is built here.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chatproxy import building
from chatproxy.adapters.chroma import Chroma
from chatproxy.adapters.crawler import Crawler
from chatproxy.adapters.documents import Documents
from chatproxy.adapters.embeddings import Embeddings
from chatproxy.adapters.engine_sight import EngineSight
from chatproxy.adapters.fetching import Fetcher
from chatproxy.adapters.mongo_jobs import MongoJobs
from chatproxy.adapters.mongo_knowledge import MongoKnowledge
from chatproxy.adapters.mongo_originals import MongoOriginals
from chatproxy.adapters.mongo_sources import MongoSources
from chatproxy.adapters.prometheus_worker import WorkerMetrics
from chatproxy.adapters.sole_worker import SoleWorker
from chatproxy.adapters.token_counts import TokenCounts
from chatproxy.adapters.words import WordIndex
from chatproxy.core.describing import Described
from chatproxy.core.ingest import Ingest
from chatproxy.core.library import Library
from chatproxy.core.ports import Parser
from chatproxy.core.syncing import Syncing
from chatproxy.core.working import Pulse, Working
from chatproxy.errors import ConfigurationError
from chatproxy.settings import Settings

# One document may take 300 s to be read and as long to be embedded on a small machine.
_LONGEST_SILENCE_S = 900.0


def main(environment: Mapping[str, str]) -> int:
    """Work until SIGTERM or Ctrl-C; returns the exit status."""
    try:
        settings = Settings.from_environment(environment)
        _log_to_stderr(settings.log_level)
        sole = SoleWorker(settings.words_dir)
        working = build(settings, sole.name)
        if settings.metrics_listen:
            WorkerMetrics(working.worked, MongoJobs(building.database(settings)).open).listen(*settings.metrics_listen)
    except ConfigurationError as error:
        print(f"the worker cannot start: {error}", file=sys.stderr, flush=True)
        return 1
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: working.stop())
    health = ThreadingHTTPServer(("127.0.0.1", settings.worker_port), _health(working))
    threading.Thread(target=health.serve_forever, name="health", daemon=True).start()
    working.run()
    return 0


def build(settings: Settings, name: str) -> Working:
    """A worker of that name, connected to nothing yet."""
    database = building.database(settings)
    sources, documents, jobs = MongoSources(database), MongoKnowledge(database), MongoJobs(database)
    originals, embeddings = MongoOriginals(database), Embeddings(settings.embeddings_url)
    parser: Parser = Documents(ocr_languages=settings.ocr_languages)
    if settings.vision_descriptions == "auto":
        key, model = settings.engine_api_key, settings.asked_model
        parser = Described(parser, EngineSight(settings.engine_urls, api=settings.engine_api, model=model, api_key=key))
    ingest = Ingest(
        documents,
        originals,
        parser,
        TokenCounts(settings.embeddings_url),
        embeddings,
        Chroma(settings.chroma_url, token=settings.chroma_token, model=embeddings.model),
        WordIndex(settings.words_dir),
    )
    pulse = Pulse()
    crawler = Crawler(Fetcher(settings.crawler_agent), pause=pulse.wait)
    syncing = Syncing(ingest, sources, documents, originals, crawler)
    return Working(jobs, Library(sources, documents, jobs, originals), syncing, name, pulse)


def _health(working: Working) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lives = working.silent_s < _LONGEST_SILENCE_S
            body = b'{"status": "ok"}' if lives else b'{"status": "silent"}'
            self.send_response(200 if lives else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Drivers tell at these levels what they send.
    for name in ("pymongo", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
