"""How fast a website is read into what is searched, what a rebuild takes, and the memory it all takes.

Paired: both read the same site in one run, in turns, with the same embedding model. Named baseline: the
tutorial's pipeline (tutorial.py), which keeps nothing but Chroma; ours keeps the originals, the chunks and the word
index as well, and survives being killed. Ours does not wait between pages here (RATE=0), as the tutorial never does.
"""

from __future__ import annotations

import time

from tests.bench.appliance import services
from tests.bench.figures import counted, figure, heading, median
from tests.bench.knowledge.corpus import corpus
from tests.bench.knowledge.memory import Watched
from tests.bench.knowledge.ours import Done, read, rebuild, served, worker
from tests.bench.knowledge.tutorial import Tutorial
from tests.unit.proxy.adapters.crawled_site import Site

COLLECTION = "bench"
ROUNDS = 2
_MIB = 2**20


def run() -> None:
    """`make bench ONLY=ingestion`: the site read by both in turns, then all of ours rebuilt."""
    rounds = counted("ROUNDS", ROUNDS)
    with services("mongo", "chroma", "embeddings") as stack, worker(stack) as reader, served(corpus().pages) as site:
        heading(f"a website read into what is searched, {rounds} rounds")
        assert reader.process
        ours, theirs = list[Done](), list[Done]()
        with Watched({"worker": reader.process.pid, "embeddings": stack.processes["embeddings"].pid}) as watched:
            for number in range(rounds):
                tutorial = Tutorial(stack)
                # Turns are taken, so that what else the machine does is not always borne by the same.
                for first in (True, False) if number % 2 else (False, True):
                    if first:
                        ours.append(read(reader, stack, site, f"{COLLECTION}-{number}"))
                    else:
                        theirs.append(read_by(tutorial, site))
            again = rebuild(reader, stack)
    for name, each in (("the appliance", ours), ("tutorial", theirs)):
        pages, chunks = each[0].pages, each[0].chunks
        seconds = median([done.seconds for done in each])
        figure(f"{name}: {pages} pages, {chunks} chunks", seconds, "s")
        figure("  pages/s", pages / seconds, "/s", digits=2)
        figure("  chunks/s", chunks / seconds, "/s")
    # Per page, as the two do not find quite the same.
    ratios = [(a.seconds / a.pages) / (b.seconds / b.pages) for a, b in zip(ours, theirs, strict=True)]
    figure("time for a page, ours / theirs, median of the rounds", median(ratios), "", goal=1.0, digits=2)
    figure("rebuild of 10,000 chunks", again.seconds / again.chunks * 10_000, "s")
    for name in watched.pss:
        pss, rss = watched.pss[name] / _MIB, watched.rss[name] / _MIB
        figure(f"memory of {name}, peak of PSS (RSS {rss:.0f} MiB)", pss, "MiB", digits=0)


def read_by(tutorial: Tutorial, site: Site) -> Done:
    begun = time.perf_counter()
    pages, chunks = tutorial.read(f"{site.url}/index.html")
    return Done(pages, chunks, time.perf_counter() - begun)
