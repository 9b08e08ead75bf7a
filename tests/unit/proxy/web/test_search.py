"""POST /api/v1/search: what it shows, and that it is limited as questions are."""

from __future__ import annotations

import pytest

from chatproxy.core.access import Limits
from chatproxy.core.passages import Passage
from chatproxy.core.types import Bot
from chatproxy.errors import SearchUnavailable
from tests.unit.proxy.fakes import FakeBots, FakePassages, World

URL = "/api/v1/search"
HOURS = Passage("h", "site", 0, "Open from 9 to 17.", ("Visit", "Hours"), "https://shop.example/visit", "hours")


@pytest.fixture
def world() -> World:
    bot = Bot("assistant", "Assistant", system="Be brief.", format="chatml", knowledge=("site",))
    return World(bots=FakeBots(bot), passages=FakePassages(HOURS))


def test_passages_are_shown_with_where_they_stand(world: World) -> None:
    found = world.client("chat").post(URL, json={"query": "When are you open?"})
    assert found.get_json() == {
        "passages": [
            {
                "text": "Open from 9 to 17.",
                "title": "Visit > Hours",
                "url": "https://shop.example/visit",
                "anchor": "hours",
                "page": None,
                "score": 0.0,
            }
        ]
    }


def test_a_search_counts_as_a_request_and_one_too_many_is_refused_before_anything_is_searched(world: World) -> None:
    client = world.client("chat", limits=Limits(requests_per_minute=2))
    assert client.post(URL, json={"query": " "}).status_code == 400  # asks for nothing and counts for nothing
    assert client.post(URL, json={"query": "When?"}).status_code == 200
    assert client.post("/api/v1/chat", json={"message": "When?"}).status_code == 200
    for path, body in ((URL, {"query": "When?"}), ("/api/v1/chat", {"message": "When?"})):
        refused = client.post(path, json=body)
        assert (refused.status_code, refused.get_json()["error"]["code"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert len(world.passages.asked) == 2


def test_a_search_gives_its_place_among_the_streams_back_however_it_ends(world: World) -> None:
    client = world.client("chat", limits=Limits(streams=1))
    world.passages.error = SearchUnavailable("away")
    assert client.post(URL, json={"query": "When?"}).status_code == 502
    world.passages.error = None
    assert [client.post(URL, json={"query": "When?"}).status_code for _ in range(2)] == [200, 200]


def test_the_refusal_is_described(world: World) -> None:
    described = world.app.test_client().get("/openapi.json").get_json()
    assert "429" in described["paths"][URL]["post"]["responses"]
