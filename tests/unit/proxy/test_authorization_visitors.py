"""What visitors of web pages have is theirs alone, and what they may call is open to them. See test_authorization."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from chatproxy.settings import Settings
from tests.unit.proxy.fakes import SHOP, FakeEngine, World, says
from tests.unit.proxy.test_authorization import DOCUMENT, PLACES, SOMEBODYS, Alice, Place, call, told

OTHER = "https://other.example"
# With a conversation and a message, as far as visitors may call it.
THEIRS = [
    place
    for place in PLACES
    if place.name in ("conversation_id", "message_id", "edit")
    and {"visitor": ["visitor"]} in DOCUMENT["paths"][place.path][place.method]["security"]
]


class Vera:
    """A visitor of the shop with one conversation, and an answer that is being made."""

    def __init__(self) -> None:
        engine = FakeEngine(says("Once", " upon", " a time."))
        self.world = World(engine=engine, settings=Settings(trusted_hops=0, engine_slots=4))
        self.site = self.world.site(SHOP)
        self.client = self.world.visitor(self.site, SHOP)
        asked = self.client.post("/api/v1/chat", json={"message": "Hello"}).get_json()
        self.conversation, self.answer = asked["conversation_id"], asked["message_id"]
        self.question = self.world.history.stored[self.conversation][0].id
        self._stream = self.client.post("/api/v1/chat", json={"message": "Go on", "stream": True})
        self.running_answer = self._stream.headers["X-Message-Id"]
        self._read = [next(iter(self._stream.response)) for _ in range(2)]
        self.stored = self._stored()

    def is_untouched(self) -> bool:
        """Nothing of hers has changed, and her running answer comes to its own end."""
        unchanged = self._stored() == self.stored
        text = b"".join([*self._read, *self._stream.response]).decode()
        return unchanged and " a time." in text and '"stop"' in text

    def _stored(self) -> Any:
        history = self.world.history
        owner = history.conversations_by_id[self.conversation].owner
        hers = {c.id: c for c in history.conversations_by_id.values() if c.owner == owner}
        return hers, {key: list(history.stored[key]) for key in hers}, set(history.superseded)


def somebody(world: World, kind: str, site: str) -> FlaskClient:
    """Another one, at the shop, at another shop, on the appliance's own page, or with an API key."""
    if kind == "the same page's":
        return world.visitor(site, SHOP)
    if kind == "the same site key, framed":
        return world.visitor(site)
    if kind == "another site key of the same origin":
        return world.visitor(world.site(SHOP), SHOP)
    if kind == "another page's":
        return world.visitor(world.site(OTHER), OTHER)
    return world.visitor() if kind == "the own page's" else world.client("chat", "kobold", "admin")


@pytest.mark.parametrize(
    "kind",
    [
        "the same page's",
        "the same site key, framed",
        "another site key of the same origin",
        "another page's",
        "the own page's",
        "a key's",
    ],
)
@pytest.mark.parametrize("place", THEIRS, ids=str)
def test_a_visitors_are_the_same_to_others_as_what_does_not_exist(place: Place, kind: str) -> None:
    vera = Vera()
    other = somebody(vera.world, kind, vera.site)
    others = {("path", name): never for name, (_, never) in SOMEBODYS.items() if f"{{{name}}}" in place.path}
    for meant in SOMEBODYS[place.name][0]:
        if not meant.startswith("users_"):
            stolen = call(other, place.method, place.path, {**others, (place.where, place.name): getattr(vera, meant)})
            never = SOMEBODYS[place.name][1]
            unknown = call(other, place.method, place.path, {**others, (place.where, place.name): never})
            assert told(stolen) == told(unknown)
            assert stolen.status_code == 404
    assert vera.is_untouched()


@pytest.mark.parametrize("place", THEIRS, ids=str)
def test_a_keys_are_nothing_to_visitors(place: Place) -> None:
    alice = Alice()
    visitor = alice.world.visitor(alice.world.site(SHOP), SHOP)
    for meant in SOMEBODYS[place.name][0]:
        others = {("path", name): never for name, (_, never) in SOMEBODYS.items() if f"{{{name}}}" in place.path}
        stolen = call(visitor, place.method, place.path, {**others, (place.where, place.name): getattr(alice, meant)})
        assert stolen.status_code == 404
    assert alice.is_untouched()


@pytest.mark.parametrize("place", THEIRS, ids=str)
def test_what_others_are_refused_is_there_for_the_visitor(place: Place) -> None:
    """Else the tests above would show nothing."""
    vera = Vera()
    own = {"conversation_id": vera.conversation, "message_id": vera.answer, "edit": vera.question}
    ids = {(place.where, place.name): own[place.name]}
    assert call(vera.client, place.method, place.path, ids).status_code in (200, 202)


def test_lists_and_deletions_are_of_ones_own() -> None:
    vera = Vera()
    for kind in ("the same page's", "the own page's", "a key's"):
        other = somebody(vera.world, kind, vera.site)
        assert other.get("/api/v1/conversations").get_json()["conversations"] == []
        assert other.delete("/api/v1/conversations").get_json() == {"deleted": 0}
    assert vera.is_untouched()
    listed = vera.client.get("/api/v1/conversations").get_json()["conversations"]
    assert vera.conversation in {each["id"] for each in listed}
    assert vera.client.delete("/api/v1/conversations").get_json() == {"deleted": 2}


@pytest.mark.parametrize("name", ["user_id", "all_users"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        (method, path)
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method != "parameters" and {"visitor": ["visitor"]} in item[method]["security"]
    ],
)
def test_a_visitor_speaks_for_nobody_else(method: str, path: str, name: str) -> None:
    vera = Vera()
    ids = {("path", "conversation_id"): vera.conversation, ("path", "message_id"): vera.answer, ("query", name): "true"}
    refused = call(vera.client, method, path, ids)
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (400, "invalid_request")
    assert refused.get_json()["error"]["message"].startswith(f"{name}: ")
    assert vera.is_untouched()
