"""Worker, Chroma and mongod are killed at random moments while a site is read: it ends as an undisturbed reading does.

The short form runs with the others; the long one (`make test-long`) reads PAGES pages (1,000 unless set) and kills 60
times. KILL_SEED repeats the moments of an earlier run, as far as the machine does.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import until
from tests.integration.proxy.knowledge.sites import add, page
from tests.integration.proxy.knowledge.stores import Stores, shape
from tests.integration.proxy.knowledge.worker_process import Worker
from tests.unit.proxy.adapters.crawled_site import Site

SHORT, LONG = 14, 1000
# Where all is up again the job goes on within a lease and the longest of a job's own waits.
RECOVERY_S = 180.0


def town(pages: int) -> dict[str, Any]:
    """Houses that each have a page of two sections, and one wording that half of them share."""
    links = [f"/{number}" for number in range(pages - 1)]

    def house(number: int) -> str:
        rooms = " ".join(f"Room {room} of house {number} has {number * room % 97} windows." for room in range(12))
        shared = "Bins are emptied on Mondays before eight." if number % 2 else f"House {number} burns its own."
        return f"{rooms}</p><h2>Waste</h2><p>{shared}"

    return {
        "/": page("Town", "All houses.", *links),
        **{link: page(f"House {n}", house(n), *links[n + 1 : n + 3]) for n, link in enumerate(links)},
    }


def read_under_kills(
    worker: Worker, native: NativeStack, stores: Stores, pages: int, *, kills: int, most_wait: float
) -> None:
    seed = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(10**6))
    print(f"KILL_SEED={seed}")
    chance, killed = random.Random(seed), Counter[str]()
    calm_name, killed_name = f"calm-{pages}", f"killed-{pages}"
    with Site(town(pages)) as site:
        calm = add(worker, site, calm_name)
        assert (calm["state"], calm["progress"]["read"]) == ("done", pages)
        words = ("add-url", f"{site.url}/", "--collection", killed_name, "--allow-private", site.authority)
        job = worker.begun(*words, "--rate", "0")["job"]
        while _open(stores, job) and killed.total() < kills:
            time.sleep(chance.uniform(0.1, most_wait))
            what = chance.choice(("worker", "chroma", "mongo"))
            killed[what] += 1
            if what == "worker":
                worker.kill()
                worker.start()
            else:
                native.stop(what, kill=True)
                time.sleep(chance.uniform(0, 1))
                native.start(what)
            # So that every kill meets a worker that works.
            _until_it_moves(stores, job)
        ended = worker.ended(job)
    print(f"{pages} pages, {len(stores.chunks(killed_name))} chunks, kills {dict(killed)}")
    assert ended["state"] == "done", ended
    assert killed.total() >= 3
    assert ended["progress"] == calm["progress"]
    assert shape(stores, killed_name) == shape(stores, calm_name)
    assert stores.vectors(killed_name) == stores.searched(killed_name)
    assert stores.said(killed_name, "house") <= stores.searched(killed_name)
    assert len(stores.said(killed_name, "windows")) == len(stores.said(calm_name, "windows"))


def _job(stores: Stores, job: str) -> dict[str, Any] | None:
    with suppress(PyMongoError):
        return dict(stores.database["jobs"].find_one({"_id": job}))
    return None


def _open(stores: Stores, job: str) -> bool:
    found = _job(stores, job)
    return found is None or found["open"]


def _until_it_moves(stores: Stores, job: str) -> None:
    """Until more pages are read than when this call began, or the job has ended."""
    before: list[int] = []

    def moved() -> bool:
        found = _job(stores, job)
        if found is None:
            return False
        read = stores.database["documents"].count_documents({"source_id": found["source_id"]})
        before.append(read)
        return not found["open"] or read > before[0]

    until(moved, RECOVERY_S)


def test_what_is_killed_while_a_site_is_read_costs_nothing(worker: Worker, native: NativeStack, stores: Stores) -> None:
    read_under_kills(worker, native, stores, SHORT, kills=4, most_wait=0.5)


@pytest.mark.long
def test_a_thousand_pages_are_read_under_kills(worker: Worker, native: NativeStack, stores: Stores) -> None:
    read_under_kills(worker, native, stores, int(os.environ.get("PAGES") or LONG), kills=60, most_wait=4.0)
