"""Conversations: list, pages, delete; and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.proxy.fakes import World

URL = "/api/v1/conversations"


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


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=", "offset=3"])
def test_bad_paging_is_named(query: str) -> None:
    response = World().client().get(f"{URL}?{query}")
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"]["message"].startswith(("limit", "offset"))


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
        yours.delete(f"{URL}/{conversation_id}"),
        yours.post("/api/v1/chat", json={"message": "Hi", "conversation_id": conversation_id}),
    ):
        assert response.status_code == 404
    assert yours.delete(URL).json == {"deleted": 0}
    assert len(get(mine, f"{URL}/{conversation_id}")["messages"]) == 2


@pytest.mark.parametrize("name", ["x", "0" * 31, "G" * 32, "%00", "$where"])
def test_what_is_no_id_is_not_found(name: str) -> None:
    assert World().client().get(f"{URL}/{name}").status_code == 404
