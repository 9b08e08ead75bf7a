"""The appliance's own pipeline over the same services: its worker reads, its retrieval finds."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chatproxy.adapters.chroma import Chroma
from chatproxy.adapters.embeddings import Embeddings
from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_passages import MongoPassages
from chatproxy.adapters.words import WordIndex
from chatproxy.core.passages import Hit, Passage
from chatproxy.core.ports import Embedder, Vectors, Words
from chatproxy.core.retrieval import Retrieval, Thresholds
from scripts.lib.native import NativeStack
from tests.integration.proxy.knowledge.worker_process import Worker, working
from tests.unit.proxy.adapters.crawled_site import Site

# Refuses nothing: for what is measured of the order alone.
ALL = Thresholds(cosine=-1.0)
_HTML = {"Content-Type": "text/html; charset=utf-8"}


@contextlib.contextmanager
def worker(stack: NativeStack) -> Iterator[Worker]:
    with tempfile.TemporaryDirectory(dir=stack.data) as folder, working(stack, Path(folder)) as running:
        yield running


def served(pages: Mapping[str, bytes]) -> Site:
    return Site({path: (200, _HTML, body) for path, body in pages.items()})


@dataclass(frozen=True, slots=True)
class Done:
    """A job of the worker's: what it dealt with, and how long it took from its order to its end."""

    pages: int
    chunks: int
    seconds: float


def read(reader: Worker, stack: NativeStack, site: Site, collection: str) -> Done:
    """Read a website to its end, as `make ingest URL=...` does, without waiting between its pages."""
    words = ("add-url", f"{site.url}/index.html", "--collection", collection, "--allow-private", site.authority)
    return _done(reader, stack, *words, "--rate", "0")


def rebuild(reader: Worker, stack: NativeStack) -> Done:
    """Make all vectors and words anew, as `make sources REBUILD=1` does."""
    return _done(reader, stack, "rebuild")


def _done(reader: Worker, stack: NativeStack, *words: str) -> Done:
    ended = reader.done(*words)
    if ended["state"] != "done":
        raise RuntimeError(f"the worker did not do it: {ended}")
    with Stores(stack).database.collection("jobs") as jobs:
        job = jobs.find_one({"_id": ended["id"]})
    assert job
    progress = ended["progress"]
    return Done(progress["read"], progress["chunks"], (job["finished_at"] - job["created_at"]).total_seconds())


class Stores:
    """What the proxy searches with, in this process."""

    def __init__(self, stack: NativeStack) -> None:
        environment = stack.proxy_environment()
        password = stack.mongo_password_file.read_text()
        self.embeddings = Embeddings(stack.embeddings_url)
        token = stack.chroma_token_file.read_text()
        self.vectors = Chroma(stack.chroma_url, token=token, model=self.embeddings.model)
        self.words = WordIndex(Path(environment["WORDS_DIR"]))
        self.database = Database(stack.mongo_url, "chatbot", user="chatproxy", password=password)
        self.passages = MongoPassages(self.database)

    def retrieval(
        self,
        *,
        vectors: Vectors | None = None,
        words: Words | None = None,
        embedder: Embedder | None = None,
        thresholds: Thresholds = ALL,
    ) -> Retrieval:
        return Retrieval(
            vectors or self.vectors,
            words or self.words,
            self.passages,
            embedder or self.embeddings,
            thresholds=thresholds,
        )

    def dense(self) -> Retrieval:
        return self.retrieval(words=Nothing())

    def lexical(self) -> Retrieval:
        return self.retrieval(vectors=Nothing())

    def fused(self) -> Retrieval:
        return self.retrieval()


class Nothing:
    """One of the two searches left out. Implements core.ports.Vectors and Words."""

    def nearest(self, collection: str, vectors: Sequence[Sequence[float]], count: int) -> Sequence[Sequence[Hit]]:
        return [[] for _ in vectors]

    def best(self, collection: str, text: str, count: int) -> Sequence[Hit]:
        return []

    def size(self, collection: str) -> int:
        return 0


def told(passages: Sequence[Passage], site: Site) -> list[tuple[str, str]]:
    """(path of the page, text) of each."""
    return [(passage.url.removeprefix(site.url), passage.text) for passage in passages]
