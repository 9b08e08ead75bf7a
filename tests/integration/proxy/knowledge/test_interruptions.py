"""Jobs that are killed, handed over, paused and cancelled in the middle."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import until
from tests.integration.proxy.knowledge.sites import add, page
from tests.integration.proxy.knowledge.stores import Stores, shape
from tests.integration.proxy.knowledge.worker_process import Worker
from tests.unit.proxy.adapters.crawled_site import Site


def slow_site(pages: int) -> dict[str, Any]:
    """Pages of several chunks, two of which say the same."""
    links = [f"/{number}" for number in range(pages)]

    def text(number: int) -> str:
        rooms = " ".join(
            f"Room {number * 7 + room} of the tower holds lamp {room} of keeper {number}." for room in range(40)
        )
        return f"{rooms}</p><h2>Rules</h2><p>" + " ".join(
            f"Rule {rule} of floor {number % (pages - 1)}." for rule in range(60)
        )

    return {
        "/": page("Tower", "All floors.", *links),
        **{link: page(f"Floor {n % (pages - 1)}", text(n)) for n, link in enumerate(links)},
    }


def test_a_worker_that_is_killed_again_and_again_ends_where_an_undisturbed_one_does(
    worker: Worker, stores: Stores
) -> None:
    with Site(slow_site(14)) as site:
        calm = add(worker, site, "calm")
        words = ("add-url", f"{site.url}/", "--collection", "killed", "--allow-private", site.authority)
        job = worker.begun(*words, "--rate", "0")["job"]
        chance, kills = random.Random(7), 0
        while stores.database["jobs"].find_one({"_id": job})["open"]:
            time.sleep(chance.uniform(0.1, 1.5))
            if not stores.database["jobs"].find_one({"_id": job})["open"]:
                break
            worker.kill()
            kills += 1
            worker.start()
            if kills == 12:
                break
        ended = worker.ended(job)
        assert ended["state"] == "done"
        assert kills >= 3
        assert shape(stores, "killed") == shape(stores, "calm")
        assert stores.vectors("killed") == stores.searched("killed")
        assert stores.said("killed", "rule") | stores.said("killed", "tower") <= stores.searched("killed")
        assert len(stores.said("killed", "rule")) == len(stores.said("calm", "rule"))
        assert ended["progress"] == calm["progress"]


def test_sigterm_leaves_the_job_to_the_next_worker(worker: Worker, stores: Stores) -> None:
    with Site(slow_site(10)) as site:
        words = ("add-url", f"{site.url}/", "--collection", "handed", "--allow-private", site.authority)
        job = worker.begun(*words, "--rate", "0.3")["job"]
        until(lambda: stores.chunks("handed"), 20)
        assert worker.terminate() == 0
        assert stores.database["jobs"].find_one({"_id": job})["state"] == "waiting"
        worker.start()
        ended = worker.ended(job)
        assert (ended["state"], ended["progress"]["read"]) == ("done", 11)
        assert stores.vectors("handed") == stores.searched("handed")


def test_a_job_is_paused_resumed_and_cancelled(worker: Worker, stores: Stores) -> None:
    with Site(slow_site(10)) as site:
        words = ("add-url", f"{site.url}/", "--collection", "paused", "--allow-private", site.authority)
        job = worker.begun(*words, "--rate", "0.5")["job"]
        until(lambda: stores.chunks("paused"), 20)
        worker.begun("pause", job)
        until(lambda: stores.database["jobs"].find_one({"_id": job})["state"] == "paused", 20)
        asked = len(site.asked)
        time.sleep(1.5)
        assert len(site.asked) == asked
        assert worker.begun("resume", job)["state"] == "waiting"
        until(lambda: len(site.asked) > asked, 20)
        worker.begun("cancel", job)
        ended = worker.ended(job)
        assert ended["state"] == "cancelled"
        assert 0 < len({chunk["document_id"] for chunk in stores.chunks("paused")}) < 11


def test_only_one_worker_works(worker: Worker, native: NativeStack, tmp_path: Path) -> None:
    other = Worker(native, tmp_path)
    with pytest.raises(AssertionError, match="another worker is at work"):
        other.start()
