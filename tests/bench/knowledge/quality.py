"""Whether the right passages are found: the FAQ of Python's documentation, its questions withheld (see corpus.py).

Paired: all pipelines read the same website and are asked the same questions in one run. Named baseline: the pipeline
of tutorials (tutorial.py), with the 4 passages that it gives by itself and with 10. What counts as found is the same
for all (relevance.py). Parameters were chosen on the questions of even number; those of odd number are shown apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from scripts.lib.native import NativeStack
from tests.bench.appliance import services
from tests.bench.figures import heading
from tests.bench.knowledge import thresholds
from tests.bench.knowledge.corpus import WITHHELD, Corpus, corpus
from tests.bench.knowledge.ours import Stores, read, served, told, worker
from tests.bench.knowledge.relevance import Found, gains, interval, rank, recall
from tests.bench.knowledge.tutorial import PASSAGES, Tutorial
from tests.unit.proxy.adapters.crawled_site import Site

COLLECTION = "bench"
COUNT = 10
GOAL = 8.0  # points of nDCG@10 over the tutorial's pipeline
_ROW = "  {:<26}{:>9}{:>9}{:>22}{:>9}{:>9}{:>12}"


def run() -> None:
    given = corpus()
    with services("mongo", "chroma", "embeddings") as stack, worker(stack) as reader, served(given.pages) as site:
        tutorial = Tutorial(stack)
        tutorial.read(f"{site.url}/index.html")
        read(reader, stack, site, COLLECTION)
        _table(given, _asked(stack, tutorial, given, site))
        thresholds.show(Stores(stack), COLLECTION, [each.text for each in given.questions])


def _asked(stack: NativeStack, tutorial: Tutorial, given: Corpus, site: Site) -> dict[str, list[Found]]:
    """What each pipeline finds for each question."""
    stores = Stores(stack)

    def tutorials(count: int) -> Callable[[str], Found]:
        return lambda question: [(url.removeprefix(site.url), text) for url, text in tutorial.search(question, count)]

    pipelines: dict[str, Callable[[str], Found]] = {
        "tutorial, 4 passages": tutorials(PASSAGES),
        "tutorial, 10 passages": tutorials(COUNT),
    }
    for name, retrieval in (
        ("ours, vectors alone", stores.dense()),
        ("ours, words alone", stores.lexical()),
        ("ours, both fused", stores.fused()),
    ):
        pipelines[name] = lambda question, ours=retrieval: told(ours.find([COLLECTION], question, COUNT), site)  # type: ignore[misc]
    return {name: [find(each.text) for each in given.questions] for name, find in pipelines.items()}


def _table(given: Corpus, found: dict[str, list[Found]]) -> None:
    heading(f"{len(given.questions)} questions of {given.version}, {len(given.pages)} pages; no reranker in any row")
    print("  (a cross-encoder's weights are in no package that can be had here)")
    print(f"  the questions are withheld from the site: their headings say {WITHHELD!r}")
    ranks = {
        name: [rank(question, each) for question, each in zip(given.questions, results, strict=True)]
        for name, results in found.items()
    }
    baseline, *_ = ranks
    theirs = gains(ranks[baseline])
    print(_ROW.format("", "recall@5", "nDCG@10", "more than tutorial", "even", "odd", "characters"))
    for name, places in ranks.items():
        ours = gains(places)
        low, high = interval(ours, theirs)
        more = _points(ours) - _points(theirs)
        against = "" if name == baseline else f"{more:+.1f} [{low * 100:+.1f}, {high * 100:+.1f}]"
        halves = [f"{_points(ours[half::2]):.1f}" for half in (0, 1)]
        told_5 = statistics.fmean(sum(len(text) for _, text in each[:5]) for each in found[name])
        shown = f"{recall(places, 5) * 100:.1f}", f"{_points(ours):.1f}", against, *halves, f"{told_5:.0f}"
        print(_ROW.format(name, *shown), flush=True)
    print("  characters: what the first five passages come to. even: chosen on these. In [ ]: 95 % by bootstrap")
    ours = gains(ranks["ours, both fused"])
    for name in list(ranks)[:2]:
        for half, which in ((slice(None), "all"), (slice(1, None, 2), "odd")):
            lead = _points(ours[half]) - _points(gains(ranks[name])[half])
            print(f"  fused over {name} ({which}): {lead:+.1f} points, goal >= +{GOAL:g}", flush=True)


def _points(values: Sequence[float]) -> float:
    return statistics.fmean(values) * 100
