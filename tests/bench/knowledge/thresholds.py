"""Whether questions about something else are refused, and those about the site kept, by threshold.

In the mode `sources-only` a bot refuses what retrieval finds nothing for. off_topic.txt holds everyday questions, many
with words that the site is full of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from chatproxy.core.retrieval import Thresholds, least_cosine
from chatproxy.core.types import Embedded
from tests.bench.figures import figure, heading
from tests.bench.knowledge.ours import Stores

GOAL = 0.9
RANGE = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55)


def off_topic() -> list[str]:
    lines = (Path(__file__).parent / "off_topic.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def show(stores: Stores, collection: str, on_topic: Sequence[str]) -> None:
    """A table: by threshold the share of on-topic questions kept and of off-topic ones refused, in all and by half."""
    others, default = off_topic(), least_cosine(stores.words.size(collection))
    known = {each: stores.embeddings.embed([each]) for each in (*on_topic, *others)}
    heading(f"{len(others)} questions about other things, {len(on_topic)} about the site")
    print(f"  {'cosine':<12}{'kept':>8}{'even':>8}{'odd':>8}{'refused':>12}{'even':>8}{'odd':>8}")
    for cosine in sorted({*RANGE, default}):
        retrieval = stores.retrieval(thresholds=Thresholds(cosine=cosine), embedder=_Known(known))
        kept = [bool(retrieval.find([collection], question, 1)) for question in on_topic]
        refused = [not retrieval.find([collection], question, 1) for question in others]
        shares = [f"{share * 100:8.1f}" for share in (*_shares(kept), *_shares(refused))]
        mark = "   the default" if cosine == default else ""
        print(f"  {cosine:<8.2f}{''.join(shares[:3])}    {''.join(shares[3:])}{mark}", flush=True)
        if cosine == default:
            at_default = sum(refused) / len(refused), sum(kept) / len(kept)
    figure("off-topic questions answered at the default", (1 - at_default[0]) * 100, "%", goal=(1 - GOAL) * 100)
    figure("questions about the site refused at the default", (1 - at_default[1]) * 100, "%")


class _Known:
    """Implements core.ports.Embedder for single questions that were embedded before."""

    def __init__(self, known: Mapping[str, Embedded]) -> None:
        self._known = known

    def embed(self, texts: Sequence[str]) -> Embedded:
        (text,) = texts
        return self._known[text]


def _shares(said: Sequence[bool]) -> list[float]:
    """Of all, of those with even numbers, of those with odd ones."""
    return [sum(part) / len(part) for part in (said, said[::2], said[1::2])]
