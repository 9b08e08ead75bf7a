"""The state of a crawl: nearest first, each once, bounded, and the same again after being stored."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import bson
import pytest

from chatproxy.core import frontier
from chatproxy.core.frontier import CrawlState


def drained(state: CrawlState) -> list[str]:
    urls = []
    while front := state.front():
        urls.append(front[0])
        state.done()
    return urls


def test_the_nearest_comes_first_otherwise_what_was_found_first() -> None:
    state = CrawlState()
    for url, depth in (("c", 2), ("a", 1), ("d", 2), ("b", 1)):
        state.add(url, url, depth)
    assert drained(state) == ["a", "b", "c", "d"]


def test_an_address_stays_at_the_front_until_it_is_done() -> None:
    state = CrawlState()
    state.add("a", "a", 0)
    assert state.front() == state.front() == ("a", 0)
    state.done()
    assert state.front() is None
    assert state.has_seen("a")


def test_a_stored_state_goes_on_as_the_one_that_was_kept() -> None:
    state = CrawlState()
    for n in range(50):
        state.add(f"http://example.test/{n}", f"key {n}", n % 5)
        state.count_variant("shape")
    for _ in range(20):
        state.done()
    state.count_variant("single")
    state.replace("old")
    state.left_out["depth"] += 3
    state.begun, state.pages = True, 7
    again = CrawlState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert again.to_dict() == state.to_dict()
    assert (again.begun, again.ended, again.gave_up, again.pages) == (True, False, False, 7)
    assert again.was_replaced("old")
    assert again.count_variant("shape") == 51
    assert again.count_variant("single") == 2
    for each in (state, again):
        each.add("http://example.test/last", "last", 2)
    assert drained(again) == drained(state)


def test_a_state_of_another_version_is_not_taken_for_one() -> None:
    with pytest.raises(ValueError, match="another version"):
        CrawlState.from_dict({"version": 0})


def test_what_is_stored_is_not_changed_afterwards() -> None:
    state = CrawlState()
    state.add("a", "a", 0)
    stored = state.to_dict()
    state.done()
    state.left_out["depth"] += 1
    assert stored["waiting"] == {"0": "a"}
    assert stored["left_out"] == {}


def test_there_is_no_more_room_than_there_is() -> None:
    state = CrawlState()
    long = "x" * 2000
    taken = sum(state.add(f"{n}{long}", str(n), 0) for n in range(3000))
    assert taken < frontier.MOST_WAITING_CHARACTERS / 2000
    while state.front():
        state.done()
    assert sum(state.add(str(n), f"more {n}", 0) for n in range(frontier.MOST_SEEN)) == frontier.MOST_SEEN - taken
    assert not state.add("one", "one", 0)
    state.see("one")
    assert not state.has_seen("one")
    assert len(json.dumps(state.to_dict())) < 8_000_000


def test_a_full_state_has_no_room_for_other_shapes_and_can_be_stored() -> None:
    state = CrawlState()
    for n in range(frontier.MOST_SEEN):
        url = f"http://example.test/catalogue/{n:09}"
        assert state.add(url, url, n % 7)
        assert state.count_variant(f"shape {n}") == 1
    full = len(bson.encode(state.to_dict()))
    assert full < 7_000_000
    for n in range(1000):
        assert state.count_variant(f"another {n}") == 1
    assert len(bson.encode(state.to_dict())) == full
    assert state.count_variant("shape 3") == 2


def test_a_state_that_the_first_version_stored_goes_on() -> None:
    def digest(key: str) -> str:
        return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()

    stored: dict[str, Any] = {
        "version": 1,
        "begun": True,
        "ended": False,
        "gave_up": False,
        "pages": 7,
        "replaced": [digest("old")],
        "left_out": {"depth": 3},
        "waiting": [[0, 4, "b"], [0, 9, "a"], [2, 5, "c"]],
        "order": 10,
        "seen": [digest("a"), digest("b"), digest("c"), digest("d")],
        "single_variants": [digest("single")],
        "variants": {digest("shape"): 50},
    }
    state = CrawlState.from_dict(stored)
    assert (state.begun, state.ended, state.gave_up, state.pages, state.left_out) == (
        True,
        False,
        False,
        7,
        {"depth": 3},
    )
    assert all(map(state.has_seen, "abcd"))
    assert state.was_replaced("old")
    assert (state.count_variant("shape"), state.count_variant("single")) == (51, 2)
    assert drained(CrawlState.from_dict(state.to_dict())) == ["b", "a", "c"]
