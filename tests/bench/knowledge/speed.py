"""How long a question waits for its passages where there are 100,000 chunks, over the real services.

Paired: each question is asked of both in turn. Named baseline: the tutorial's `similarity_search` (tutorial.py) on the
same Chroma, with the same vectors, and the texts that it wants there; its question is embedded in its own process, ours
by the embeddings service. Embedding 100,000 chunks would take an hour: vectors are those of real chunks with a little
noise, texts are sentences of real chunks in other combinations.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chatproxy.adapters.mongo_knowledge import MongoKnowledge
from chatproxy.core.knowledge import Chunk
from chatproxy.core.passages import Entry
from chatproxy.core.sentences import sentences
from chatproxy.core.sources import StoredChunk
from scripts.lib.native import NativeStack
from tests.bench.appliance import services
from tests.bench.figures import counted, figure, heading, median, percentile
from tests.bench.knowledge.corpus import corpus
from tests.bench.knowledge.ours import Stores
from tests.bench.knowledge.tutorial import PASSAGES, Tutorial

CHUNKS = 100_000
SEEDS = 300  # chunks that are embedded
COLLECTION = "large"
GOAL_P95_MS = 30.0
_WRITTEN_AT_ONCE = 5_000
_CHARACTERS = 640  # a chunk's mean on the site of the quality table
_NOISE = 0.025  # of each of 384 numbers: the cosine to the real vector is about 0.9
_WARM_UP = 10
_PAUSE_S = 0.02


@dataclass(frozen=True)
class Made:
    ids: list[str]
    texts: list[str]
    vectors: np.ndarray


def run() -> None:
    given, wanted = corpus(), counted("CHUNKS", CHUNKS)
    questions = [each.text for each in given.questions]
    with services("mongo", "chroma", "embeddings") as stack:
        stores, tutorial = Stores(stack), Tutorial(stack)
        seconds = _fill(stack, stores, tutorial, wanted)
        heading(f"{wanted} chunks (vectors with noise, texts recombined), {len(questions)} questions; no reranker")
        ours, theirs = _both(
            lambda question: stores.fused().find([COLLECTION], question, 5),
            lambda question: tutorial.search(question, PASSAGES),
            questions,
        )
        for name, times in (("retrieval of the appliance", ours), ("tutorial's similarity_search", theirs)):
            goal = GOAL_P95_MS if times is ours else None
            figure(f"{name}, p50", median(times) * 1000, "ms")
            figure(f"{name}, p95", percentile(times, 0.95) * 1000, "ms", goal=goal)
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        figure("ours / theirs, median of the pairs", median(ratios), "", digits=2)
        _parts(stores, questions)
        figure("vectors and words of 10,000 chunks written", seconds / wanted * 10_000, "s")


def _both(
    ours: Callable[[str], object], theirs: Callable[[str], object], questions: Sequence[str]
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = [], []
    for at, question in enumerate([*questions[:_WARM_UP], *questions]):
        # Turns are taken, so that neither always finds what the other left in the caches.
        for which in (0, 1) if at % 2 else (1, 0):
            # torch's threads spin for some milliseconds behind a call, which is no time of the next one.
            time.sleep(_PAUSE_S)
            begun = time.perf_counter()
            (ours, theirs)[which](question)
            if at >= _WARM_UP:
                times[which].append(time.perf_counter() - begun)
    return times


def _parts(stores: Stores, questions: Sequence[str]) -> None:
    """Where the time goes."""
    vectors = [stores.embeddings.embed([each]).vectors for each in questions]
    hits = [stores.vectors.nearest(COLLECTION, each, 50)[0] for each in vectors]
    for name, call in (
        ("  the question's vector", lambda at: stores.embeddings.embed([questions[at]])),
        ("  nearest vectors", lambda at: stores.vectors.nearest(COLLECTION, vectors[at], 50)),
        ("  best by words", lambda at: stores.words.best(COLLECTION, questions[at], 50)),
        ("  texts of 50 chunks", lambda at: stores.passages.passages([hit.id for hit in hits[at]])),
    ):
        times = []
        for at in range(len(questions)):
            begun = time.perf_counter()
            call(at)  # type: ignore[no-untyped-call]
            times.append(time.perf_counter() - begun)
        figure(f"{name}, p50", median(times) * 1000, "ms")


def _fill(stack: NativeStack, stores: Stores, tutorial: Tutorial, wanted: int) -> float:
    """Both collections; how many seconds ours took for vectors and words."""
    knowledge, took = MongoKnowledge(stores.database), 0.0
    for made in _made(stores, wanted):
        knowledge.put_chunks([_stored(key, text) for key, text in zip(made.ids, made.texts, strict=True)])
        begun = time.perf_counter()
        stores.vectors.put(COLLECTION, dict(zip(made.ids, made.vectors.tolist(), strict=True)))
        stores.words.put(
            {key: Entry(COLLECTION, "A page", text, "en") for key, text in zip(made.ids, made.texts, strict=True)}
        )
        took += time.perf_counter() - begun
        tutorial.fill(made.ids, made.texts, made.vectors.tolist())
    return took


def _made(stores: Stores, wanted: int) -> Iterator[Made]:
    chance, noise = random.Random(1), np.random.default_rng(1)
    real = _seeds()
    vectors = np.array(stores.embeddings.embed(real).vectors)
    said = [each for text in real for each in sentences(text)]
    for begin in range(0, wanted, _WRITTEN_AT_ONCE):
        count = min(_WRITTEN_AT_ONCE, wanted - begin)
        near = vectors[noise.integers(len(vectors), size=count)] + noise.normal(0, _NOISE, (count, vectors.shape[1]))
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        yield Made([f"{begin + at:032x}" for at in range(count)], [_text(said, chance) for _ in range(count)], near)


def _text(said: Sequence[str], chance: random.Random) -> str:
    text = ""
    while len(text) < _CHARACTERS:
        text += chance.choice(said)
    return text


def _seeds() -> list[str]:
    """Paragraphs of the site, taken evenly from all of it."""
    from lxml import html

    paragraphs = [
        " ".join(each.text_content().split())
        for page in corpus().pages.values()
        for each in html.fromstring(page).xpath("//*[@role='main']//p")
    ]
    long = [f"{each} " for each in paragraphs if len(each) > 200]
    return long[:: max(1, len(long) // SEEDS)][:SEEDS]


def _stored(key: str, text: str) -> StoredChunk:
    number = int(key, 16)
    chunk = Chunk(text, ("A page",), "", None, number % 10, 150)
    return StoredChunk(key, COLLECTION, "s" * 16, f"{number // 10:032x}", "v", "http://example.org/", "en", chunk, key)
