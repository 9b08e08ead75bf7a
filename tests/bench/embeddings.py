"""The embeddings service: a question beside a reading of 2,000 texts, and twenty passages reranked.

Named baselines: the same service where a call is one step, so that a question waits for whole calls of others; and the
same question with nobody else there. Rounds alternate between the two services, which are never busy at the same time.
The reranker has MiniLM-L6's size and random weights: its scores mean nothing, its time is a real one's.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import requests

from scripts.lib.native import NativeStack
from tests.bench.figures import counted, figure, heading, median, percentile
from tests.doubles.small_models import cross_encoder

TEXTS = 2000
# What core/ingest.py sends at a time, and what a client that knows no better does.
CALLS = {"the worker's calls of 32": 32, "one call of all": TEXTS}
QUESTION = "How long do I have to send a lamp back?"
GOAL_RERANKED_MS = 120.0
PASSAGES = 20
_WORDS = "The keeper wrote into the log that the lamp had burnt since dusk and that no ship was seen on the sea. "
# In front of gunicorn's start: calls are not parted.
_WHOLE = (
    "import encoders; encoders.STEP_CHARS = encoders.STEP_TEXTS = 10**9; from gunicorn.app.wsgiapp import run; run()"
)


def passage(tokens: int, number: int = 0) -> str:
    """About so many tokens, like no other."""
    return f"{number} " + " ".join((_WORDS * (tokens // 22 + 1)).split()[:tokens])


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-models-") as folder:
        cross_encoder(Path(folder) / "minilm-l6")
        with service(folder) as ours, service(folder, whole=True) as plain:
            for name, size in CALLS.items():
                _beside_a_reading(name, size, ours, plain)
            _reranked(ours)


@contextlib.contextmanager
def service(models: str, whole: bool = False) -> Iterator[str]:
    """The base address of the service with a reranker; `whole` calls are computed without a break."""
    with tempfile.TemporaryDirectory(prefix="bench-") as data:
        stack = NativeStack(Path(data), Path("none.gguf"))
        stack.configure("embeddings", MODELS_DIR=models, RERANKER_MODEL="minilm-l6")
        if whole:
            as_it_is = stack.services["embeddings"]
            words = (sys.executable, "-c", _WHOLE, *as_it_is.arguments[3:])
            stack.services["embeddings"] = replace(as_it_is, arguments=words)
        try:
            stack.start("embeddings")
            yield stack.embeddings_url
        finally:
            stack.close()


def _beside_a_reading(name: str, size: int, ours: str, plain: str) -> None:
    texts = [passage(150, number) for number in range(counted("TEXTS", TEXTS))]
    alone, beside, before = [], list[float](), list[float]()
    rates = {}
    alone = [_timed(lambda: _embed(ours, [QUESTION])) for _ in range(50)]
    for url, times in ((plain, before), (ours, beside)):
        begun = time.monotonic()
        with _reading(url, texts, size) as ended:
            while not ended.is_set():
                times.append(_timed(lambda url=url: _embed(url, [QUESTION])))
                ended.wait(0.2)
        rates[url] = len(texts) / (time.monotonic() - begun)
    heading(f"a question while {len(texts)} texts are embedded in {name}")
    for told, times in (("alone", alone), ("beside, a call is one step", before), ("beside, in steps", beside)):
        figure(f"{told}, p50", 1000 * median(times), "ms")
        figure(f"{told}, p95", 1000 * percentile(times, 0.95), "ms")
    figure("texts embedded, a call is one step", rates[plain], "/s")
    figure("texts embedded, in steps", rates[ours], "/s")


@contextlib.contextmanager
def _reading(url: str, texts: Sequence[str], size: int) -> Iterator[threading.Event]:
    """All texts are embedded meanwhile; the event says when they are."""
    ended = threading.Event()

    def read() -> None:
        for begin in range(0, len(texts), size):
            _embed(url, texts[begin : begin + size])
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.5)
    yield ended
    reader.join()


def _reranked(url: str) -> None:
    numbers = count()
    heading(f"{PASSAGES} passages reranked")
    for tokens in (32, 64, 128, 220):
        documents = [passage(tokens, next(numbers)) for _ in range(PASSAGES)]
        body = {"query": QUESTION, "documents": documents}
        times = [_timed(lambda body=body: _post(f"{url}/v1/rerank", body)) for _ in range(counted("ROUNDS", 12))]
        figure(f"of {tokens} tokens, p50", 1000 * median(times), "ms")
        figure(f"of {tokens} tokens, p95", 1000 * percentile(times, 0.95), "ms", goal=GOAL_RERANKED_MS)


def _embed(url: str, texts: Sequence[str]) -> None:
    _post(f"{url}/v1/embeddings", {"input": list(texts)})


def _post(url: str, body: object) -> None:
    requests.post(url, json=body, timeout=600).raise_for_status()


def _timed(act: Callable[[], None]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


if __name__ == "__main__":
    run()
