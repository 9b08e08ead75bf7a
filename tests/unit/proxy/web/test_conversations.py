"""Conversations: list, pages, titles, delete; those of a key's users; and nobody else's."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from chatproxy.core.access import Identity
from chatproxy.core.types import Conversation, Message, new_id, now
from tests.unit.proxy.fakes import World

URL = "/api/v1/conversations"
USERS = "/api/v1/users"


def start(client: FlaskClient, message: str = "Hi") -> str:
    body = client.post("/api/v1/chat", json={"message": message}).json
    assert body is not None
    return str(body["conversation_id"])


def get(client: FlaskClient, path: str) -> Any:
    response = client.get(path)
    assert response.status_code == 200
    return response.json


def test_a_conversation_can_be_read() -> None:
    client = World().client()
    conversation_id = start(client, "First line\nsecond line")
    (listed,) = get(client, URL)["conversations"]
    assert (listed["id"], listed["bot"], listed["title"]) == (conversation_id, "assistant", "First line")
    read = get(client, f"{URL}/{conversation_id}")
    assert [(m["role"], m["text"], m["status"]) for m in read["messages"]] == [
        ("user", "First line\nsecond line", "complete"),
        ("assistant", "Hello there.", "complete"),
    ]
    assert read["messages"][1]["finish_reason"] == "stop"
    assert read["messages"][0]["created_at"].endswith("Z")


def test_pages() -> None:
    client = World().client()
    ids = {start(client) for _ in range(5)}
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = get(client, f"{URL}?limit=2{cursor}")
        seen += [item["id"] for item in page["conversations"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert len(seen) == 5
    assert set(seen) == ids
    first = get(client, f"{URL}/{seen[0]}?limit=1")
    rest = get(client, f"{URL}/{seen[0]}?limit=1&cursor={first['next_cursor']}")
    assert [m["role"] for m in first["messages"] + rest["messages"]] == ["user", "assistant"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=x", "limit=", "limit=1&limit=2", "offset=3", "format=json"),
        *("user_id=", "user_id=a%00", "user_id=a%0Ab", "user_id=a&user_id=b", f"user_id={'x' * 201}"),
        "user_id[$gt]=",
    ],
)
def test_bad_parameters_are_named(query: str) -> None:
    response = World().client().get(f"{URL}?{query}")
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"]["message"].startswith(query.partition("=")[0])


def test_deleting_one_and_all() -> None:
    client = World().client()
    first, *others = [start(client) for _ in range(3)]
    assert client.delete(f"{URL}/{first}").json == {"deleted": 1}
    assert client.get(f"{URL}/{first}").status_code == 404
    assert {item["id"] for item in get(client, URL)["conversations"]} == set(others)
    assert client.delete(URL).json == {"deleted": 2}
    assert get(client, URL)["conversations"] == []


def test_somebody_elses_conversation_does_not_exist() -> None:
    world = World()
    mine, yours = world.client(), world.client()
    conversation_id = start(mine)
    assert get(yours, URL)["conversations"] == []
    for response in (
        yours.get(f"{URL}/{conversation_id}"),
        yours.get(f"{URL}/{conversation_id}/export"),
        yours.patch(f"{URL}/{conversation_id}", json={"title": "Mine now"}),
        yours.delete(f"{URL}/{conversation_id}"),
        yours.get(f"{URL}/{conversation_id}?user_id=ada"),
        mine.get(f"{URL}/{conversation_id}?user_id=ada"),
        yours.post("/api/v1/chat", json={"message": "Hi", "conversation_id": conversation_id}),
    ):
        assert response.status_code == 404
    assert yours.delete(URL).json == {"deleted": 0}
    assert yours.delete(f"{URL}?all_users=true").json == {"deleted": 0}
    assert len(get(mine, f"{URL}/{conversation_id}")["messages"]) == 2


@pytest.mark.parametrize("name", ["x", "0" * 31, "G" * 32, "%00", "$where"])
def test_what_is_no_id_is_not_found(name: str) -> None:
    assert World().client().get(f"{URL}/{name}").status_code == 404


def test_a_title_is_changed() -> None:
    client = World().client()
    conversation_id = start(client)
    response = client.patch(f"{URL}/{conversation_id}", json={"title": "  Ahoy 👩‍🚀, again "})
    assert response.status_code == 200
    assert response.json == get(client, URL)["conversations"][0]
    assert response.json["title"] == "Ahoy 👩‍🚀, again"


@pytest.mark.parametrize(
    "title", [None, "", "  ", 7, {"$gt": ""}, ["x"], "x" * 201, "two\nlines", "nul\0", "two\u2028lines", "\ud800"]
)
def test_a_bad_title_is_named(title: object) -> None:
    client = World().client()
    conversation_id = start(client)
    response = client.patch(f"{URL}/{conversation_id}", json={"title": title})
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"]["message"].startswith("title: ")
    assert client.patch(f"{URL}/{conversation_id}", json={"titel": "x"}).status_code == 400
    assert get(client, URL)["conversations"][0]["title"] == "Hi"


class Holder:
    """A key's holder, with conversations of its own and of its users."""

    def __init__(self, world: World) -> None:
        key = world.key("chat")
        self.world, self.identity = world, Identity(key.split("_")[1], "", frozenset())
        self.client = world.app.test_client()
        self.client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"

    def has(self, user_id: str | None) -> str:
        """Store a conversation; returns its id."""
        owner = self.identity.owner if user_id is None else self.identity.owner_of(user_id)
        where = Conversation(new_id(), owner, "assistant", "Title", now(), now())
        question = Message(new_id(), where.id, "user", "Hi", now())
        answer = Message(new_id(), where.id, "assistant", "Hello", now())
        self.world.history.begin(where, [question, answer], new=True)
        return where.id

    def listed(self, **query: str) -> list[str]:
        response = self.client.get(URL, query_string=query)
        assert response.json is not None
        return [item["id"] for item in response.json["conversations"]]


def test_a_user_id_lets_the_keys_holder_act_for_its_user() -> None:
    holder = Holder(World())
    own, ada, bob = holder.has(None), holder.has("ada@example.org"), holder.has("bob")
    as_ada = {"user_id": "ada@example.org"}
    assert holder.listed() == [own]
    assert holder.listed(**as_ada) == [ada]
    assert holder.listed(user_id="nobody") == []
    client, url = holder.client, f"{URL}/{ada}"
    for request in (client.get, client.delete):
        assert request(url).status_code == 404
        assert request(url, query_string={"user_id": "bob"}).status_code == 404
    assert client.patch(url, query_string=as_ada, json={"title": "Ada's"}).status_code == 200
    read = client.get(url, query_string=as_ada).json
    assert read is not None
    assert (read["title"], len(read["messages"])) == ("Ada's", 2)
    assert client.get(f"{url}/export", query_string=as_ada).status_code == 200
    assert client.delete(url, query_string=as_ada).json == {"deleted": 1}
    assert holder.listed(**as_ada) == []
    assert holder.listed(user_id="bob") == [bob]


@pytest.mark.parametrize("user_id", ["ada", "ada@example.org", "a/b//c", "a b", "ä?&#%", "x" * 200, "$ne", "{}"])
def test_one_user_is_deleted_whole_and_alone(user_id: str) -> None:
    world = World()
    holder, stranger = Holder(world), Holder(world)
    for each in (user_id, user_id, "somebody else", None):
        holder.has(each)
    kept = stranger.has(user_id)
    assert holder.client.delete(f"{USERS}/{quote(user_id, safe='')}").json == {"deleted": 2}
    assert holder.listed(user_id=user_id) == []
    assert len(holder.listed()) == len(holder.listed(user_id="somebody else")) == 1
    assert stranger.listed(user_id=user_id) == [kept]


@pytest.mark.parametrize("user_id", ["x" * 201, "a%09b", "%00"])
def test_what_is_no_user_id_is_refused(user_id: str) -> None:
    assert World().client().delete(f"{USERS}/{user_id}").status_code == 400


def test_deleting_all_with_or_without_users() -> None:
    world = World()
    holder, stranger = Holder(world), Holder(world)
    for user_id in (None, None, "ada", "bob", "bob"):
        holder.has(user_id)
    kept = stranger.has("ada")
    assert holder.client.delete(f"{URL}?user_id=ada").json == {"deleted": 1}
    assert holder.client.delete(f"{URL}?all_users=false").json == {"deleted": 2}
    holder.has(None)
    assert holder.client.delete(f"{URL}?all_users=true").json == {"deleted": 3}
    assert stranger.listed(user_id="ada") == [kept]
    for query in ("all_users=true&user_id=ada", "all_users=yes", "all_users=", "everything=true"):
        assert stranger.client.delete(f"{URL}?{query}").status_code == 400
