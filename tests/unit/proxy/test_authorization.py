"""Who may do what: every route, every kind of key and of visitor's token, own and somebody else's data.

Generated from the route table; what visitors have of their own is in test_authorization_visitors.py.

What takes an id (in its path, query or body) is found in the route table and in /openapi.json, which has all of it. A
new kind of id without an entry in SOMEBODYS or NOBODYS fails by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from chatproxy.core.crawling import Scope
from chatproxy.core.keys import SCOPES, Keyring
from chatproxy.core.sites import Sites
from chatproxy.core.types import now
from chatproxy.core.visitors import Visitors
from chatproxy.settings import Settings
from chatproxy.web import auth
from tests.unit.proxy.described import body_schema, example_body, operations
from tests.unit.proxy.fakes import SHOP, FakeEngine, World, says
from tests.unit.proxy.routes import routes

DOCUMENT: dict[str, Any] = World().app.test_client().get("/openapi.json").get_json()
PUBLIC = {"/healthz", "/readyz", "/openapi.json", "/api/v1/widget", "/api/v1/visitors"}
PUBLIC |= {"/widget.js", "/widget/<version>/<path:name>", "/chat", "/embed", "/demo"}
NO_FRAME = {"/embed"}  # without a site key
USER = "customer-17"  # as in the descriptions' examples
# Which of Alice's things an id of that name can mean, and one that never was.
SOMEBODYS: dict[str, tuple[tuple[str, ...], str]] = {
    "conversation_id": (("conversation", "users_conversation"), "0" * 32),
    "message_id": (("answer", "question", "running_answer", "users_answer"), "0" * 32),
    "edit": (("question",), "0" * 32),
    "genkey": (("genkey",), "never"),
    "user_id": (("user",), "never"),
}
# Named by everybody alike.
NOBODYS = {"model", "site_key", "version", "name", "source_id", "job_id"}
SECRET = "unit tests sign with this, and nobody else does"
VISITORS = ("visitor", "visitor expired", "visitor forged", "visitor revoked", "visitor elsewhere", "visitor renewable")


@dataclass(frozen=True)
class Place:
    """Where an operation takes an id."""

    method: str
    path: str
    where: str
    name: str

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path} {self.where}:{self.name}"


def _looks_like_an_id(name: str, schema: dict[str, Any]) -> bool:
    return name.endswith(("_id", "key")) or "[0-9a-f]" in schema.get("pattern", "")


def _places() -> Iterator[Place]:
    for method, path in operations(DOCUMENT):
        for name in re.findall(r"\{(\w+)\}", path):
            yield Place(method, path, "path", name)
        item = DOCUMENT["paths"][path]
        for parameter in [*item.get("parameters", ()), *item[method].get("parameters", ())]:
            if "$ref" in parameter:
                parameter = DOCUMENT["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
            if parameter["in"] == "query" and _looks_like_an_id(parameter["name"], parameter["schema"]):
                yield Place(method, path, "query", parameter["name"])
        for name, schema in (body_schema(DOCUMENT, method, path) or {}).get("properties", {}).items():
            if "$ref" in schema:
                schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            if _looks_like_an_id(name, schema):
                yield Place(method, path, "body", name)


PLACES = list(_places())


class Alice:
    """Somebody with two conversations, one of them her user's, and two answers that are being made."""

    def __init__(self) -> None:
        engine = FakeEngine(says("Once", " upon", " a time."))
        settings = Settings(trusted_hops=0, engine_slots=4, visitor_secret=SECRET)
        self.world = World(engine=engine, settings=settings)
        self.client = self.world.client("chat", "kobold")
        self.genkey, self.user = "hers", USER
        asked = self.client.post("/api/v1/chat", json={"message": "Hello"}).get_json()
        self.conversation, self.answer = asked["conversation_id"], asked["message_id"]
        self.question = self.world.history.stored[self.conversation][0].id
        asked = self.client.post("/api/question", json={"question": "Hi", "user_id": USER}).get_json()
        self.users_conversation, self.users_answer = asked["conversation_id"], asked["message_id"]
        self._streams = [
            self.client.post("/api/v1/chat", json={"message": "Go on", "stream": True}),
            self.client.post("/api/extra/generate/stream", json={"prompt": "Go on", "genkey": self.genkey}),
        ]
        # The owner's: whoever has the scope `admin` acts for the owner.
        source, job = self.world.knowledge.library.add_website("site", Scope(start=("http://a.example/",)))
        self.source, self.job = source.id, job.id
        self.running_answer = self._streams[0].headers["X-Message-Id"]
        # Up to their first token: from here on they can be cancelled and looked at.
        self._read = [[next(iter(s.response)) for _ in range(2)] for s in self._streams]
        self.stored = self._stored()

    def rescope(self, scopes: Iterable[str]) -> None:
        """Let her key have these scopes from now on."""
        keys = self.world.keys.keys
        for key_id in keys:
            keys[key_id] = replace(keys[key_id], scopes=frozenset(scopes))

    def is_untouched(self) -> bool:
        """Nothing of hers has changed, and her running answers come to their own ends."""
        unchanged = self._stored() == self.stored
        texts = [b"".join([*begun, *s.response]).decode() for begun, s in zip(self._read, self._streams, strict=True)]
        return unchanged and all("upon" in text and " a time." in text and '"stop"' in text for text in texts)

    def _stored(self) -> tuple[Any, ...]:
        history = self.world.history
        owner = history.conversations_by_id[self.conversation].owner
        hers = {c.id: c for c in history.conversations_by_id.values() if c.owner.startswith(owner)}
        messages = {key: list(history.stored[key]) for key in hers}
        return hers, messages, {m.id for known in messages.values() for m in known} & history.superseded


def call(client: FlaskClient, method: str, path: str, ids: dict[tuple[str, str], str]) -> TestResponse:
    """The operation with its example body; `ids` by (where, name)."""
    default = {"name": "style.css"}
    names = re.findall(r"\{(\w+)\}", path)
    parts = {name: ids.get(("path", name), default.get(name, "model")) for name in names}
    query = {name: value for (where, name), value in ids.items() if where == "query"}
    body = example_body(DOCUMENT, method, path, streamed=False)
    if body is not None:
        body.update({name: value for (where, name), value in ids.items() if where == "body"})
    return client.open(path.format(**parts), method=method, query_string=query, json=body)


def own_ids(alice: Alice, method: str, path: str, *, of_user: bool = False) -> dict[tuple[str, str], str]:
    """Alice's own, or her user's, for what the path holds."""
    own = {"conversation_id": alice.conversation, "message_id": alice.answer, "user_id": alice.user}
    if of_user:
        own |= {"conversation_id": alice.users_conversation, "message_id": alice.users_answer}
    own |= {"source_id": alice.source, "job_id": alice.job}
    places = [place for place in PLACES if (place.method, place.path, place.where) == (method, path, "path")]
    return {("path", place.name): own[place.name] for place in places if place.name in own}


def done(method: str, path: str) -> int:
    """The status of success."""
    return min(int(status) for status in DOCUMENT["paths"][path][method]["responses"] if status.startswith("2"))


def credentials(world: World, kind: str) -> dict[str, str]:
    """The header of a request with that kind of key, as WSGI names it."""
    if kind == "none":
        return {}
    if kind in VISITORS:
        return visitor(world, kind)
    key = world.key(*((kind,) if kind in SCOPES else SCOPES), expires_days=1 if kind == "expired" else None)
    key_id = key.split("_")[1]
    if kind == "wrong":
        key = key[:-4] + ("AAAA" if not key.endswith("AAAA") else "BBBB")
    elif kind == "expired":
        world.keys.expire(key_id, now() - timedelta(seconds=1))
    elif kind == "revoked":
        Keyring(world.keys).revoke(key_id)
    return {"HTTP_AUTHORIZATION": f"Bearer {key}"}


def visitor(world: World, kind: str) -> dict[str, str]:
    """Headers of a request with that kind of visitor's token."""
    site = world.site(SHOP)
    secret = SECRET[::-1] if "forged" in kind else SECRET
    age = {"visitor expired": timedelta(minutes=15), "visitor renewable": timedelta(days=89)}.get(kind, timedelta())
    visitors = Visitors(Sites(world.sites), world.usage, secret=secret, clock=lambda: now() - age)
    token = visitors.issue(site, SHOP, "http://localhost", address="").text
    if kind == "visitor revoked":
        Sites(world.sites).revoke(site)
    origin = "https://elsewhere.example" if kind == "visitor elsewhere" else SHOP
    return {"HTTP_AUTHORIZATION": f"Bearer {token}", "HTTP_ORIGIN": origin}


@pytest.mark.parametrize(("method", "rule"), routes())
def test_every_route_with_every_kind_of_key(method: str, rule: str) -> None:
    alice = Alice()
    app, path = alice.world.app, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
    endpoint = next(r.endpoint for r in app.url_map.iter_rules() if r.rule == rule and method in (r.methods or ()))
    needed = set(auth.required_scopes(app, endpoint))
    assert (needed == {auth.PUBLIC}) == (rule in PUBLIC)
    kinds = {*VISITORS, "none", "wrong", "expired", "revoked", *SCOPES} - needed
    statuses = {}
    for kind in sorted(kinds):
        client = app.test_client()
        client.environ_base |= credentials(alice.world, kind)
        if needed == {auth.PUBLIC}:
            client.environ_base.pop("HTTP_ORIGIN", None)  # what pages of which origin are told: web/test_visitors.py
        statuses[kind] = call(client, method.lower(), path, own_ids(alice, method.lower(), path)).status_code
    refused = {kind: 403 if kind in {*SCOPES, "visitor", "visitor elsewhere"} else 401 for kind in statuses}
    served = dict.fromkeys(statuses, 403 if rule in NO_FRAME else 200)
    assert statuses == (served if needed == {auth.PUBLIC} else refused)
    assert alice.is_untouched()


@pytest.mark.parametrize("scopes", [["chat"], ["kobold"], sorted(SCOPES)], ids=",".join)
@pytest.mark.parametrize(("method", "rule"), routes())
def test_every_route_answers_a_key_of_its_scope(method: str, rule: str, scopes: list[str]) -> None:
    alice = Alice()
    path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
    needed = DOCUMENT["paths"][path][method.lower()]["security"]
    alice.rescope(scopes)
    response = call(alice.client, method.lower(), path, own_ids(alice, method.lower(), path))
    opened = not needed or needed[0]["bearer"][0] in scopes
    assert response.status_code == (done(method.lower(), path) if opened and rule not in NO_FRAME else 403)


@pytest.mark.parametrize(("method", "rule"), [(m, r) for m, r in routes() if r not in PUBLIC])
def test_options_and_head_need_a_key_too(method: str, rule: str) -> None:
    client, path = World().app.test_client(), re.sub(r"<(?:\w+:)?\w+>", "0" * 32, rule)
    assert client.options(path).status_code == 401
    if method == "GET":
        assert client.head(path).status_code == 401


def test_every_kind_of_id_has_somebody_elses_to_try() -> None:
    assert {str(place) for place in PLACES if place.name not in SOMEBODYS.keys() | NOBODYS} == set()
    arguments = {name for rule in World().app.url_map.iter_rules() for name in rule.arguments}
    assert arguments == {place.name for place in PLACES if place.where == "path"}


def _attempts() -> Iterator[tuple[Place, str]]:
    for place in PLACES:
        if place.name not in NOBODYS:
            yield from ((place, meant) for meant in SOMEBODYS[place.name][0])


def told(response: TestResponse) -> tuple[int, str, dict[str, str]]:
    """What a client can see of an answer, without what differs between any two: new ids, times, the request's id."""
    text = re.sub(r"[0-9a-f]{32}", "ID", response.get_data(as_text=True))
    text = re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z", "TIME", text)
    headers = {name: re.sub(r"[0-9a-f]{32}", "ID", value) for name, value in response.headers.items()}
    return response.status_code, text, headers


@pytest.mark.parametrize(("place", "meant"), list(_attempts()), ids=str)
def test_somebody_elses_is_the_same_as_what_does_not_exist(place: Place, meant: str) -> None:
    alice = Alice()
    bob = alice.world.client("chat", "kobold", "admin")
    others = {("path", name): never for name, (_, never) in SOMEBODYS.items() if f"{{{name}}}" in place.path}
    never = SOMEBODYS[place.name][1]
    stolen = call(bob, place.method, place.path, {**others, (place.where, place.name): getattr(alice, meant)})
    unknown = call(bob, place.method, place.path, {**others, (place.where, place.name): never})
    assert told(stolen) == told(unknown)
    if place.name in ("conversation_id", "message_id", "edit"):
        assert stolen.status_code == 404
    assert alice.is_untouched()


@pytest.mark.parametrize(
    "place", [p for p in PLACES if p.where == "path" and p.name in ("conversation_id", "message_id")]
)
@pytest.mark.parametrize("user_id", ["", "stranger"], ids=["as the holder", "as another user"])
def test_one_keys_users_are_apart_from_each_other_and_from_its_holder(place: Place, user_id: str) -> None:
    alice = Alice()
    path = (place.where, place.name)
    meant = alice.users_conversation if place.name == "conversation_id" else alice.users_answer
    user = {("query", "user_id"): user_id} if user_id and _takes_user(place) else {}
    theirs = call(alice.client, place.method, place.path, {path: meant, **user})
    unknown = call(alice.client, place.method, place.path, {path: SOMEBODYS[place.name][1], **user})
    assert told(theirs) == told(unknown)
    assert theirs.status_code == 404
    assert alice.is_untouched()


def _takes_user(place: Place) -> bool:
    return any(Place(place.method, place.path, where, "user_id") in PLACES for where in ("query", "body"))


@pytest.mark.parametrize(("place", "meant"), list(_attempts()), ids=str)
def test_what_others_are_refused_is_there_for_its_owner(place: Place, meant: str) -> None:
    """Else the tests above would show nothing."""
    alice = Alice()
    is_users = meant.startswith("users_") or (place.where, meant) == ("query", "user")
    if (is_users and not _takes_user(place)) or (place.path, meant) == ("/api/question", "conversation"):
        pytest.skip("the route is for others")
    ids = own_ids(alice, place.method, place.path, of_user=is_users)
    if is_users and Place(place.method, place.path, "query", "user_id") in PLACES:
        ids["query", "user_id"] = USER
    response = call(alice.client, place.method, place.path, {**ids, (place.where, place.name): getattr(alice, meant)})
    if meant == "running_answer" and place.path.endswith("/stream"):
        assert response.status_code == 409  # its other connection stands still here, so it cannot be taken over
    elif (place.name, meant) == ("message_id", "question") and "cancel" not in place.path:
        assert response.status_code in (400, 404)  # only answers are rated, resumed and given anew
    else:
        assert response.status_code == done(place.method, place.path)
    if place.name == "genkey" and "check" in place.path:
        assert response.get_json()["results"][0]["text"] == "Once"
    if place.name == "genkey" and "abort" in place.path:
        assert response.get_json()["success"] == "true"
