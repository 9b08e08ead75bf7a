"""POST /api/question: each user of a key has one conversation that goes on."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.unit.proxy.fakes import World


def ask(client: FlaskClient, **fields: Any) -> TestResponse:
    return client.post("/api/question", json={"question": "Hello", "user_id": "ann", **fields})


def conversation_of(response: TestResponse) -> str:
    assert response.status_code == 200, response.get_data(as_text=True)
    assert response.json is not None
    return str(response.json["conversation_id"])


def test_a_question_is_answered_as_the_native_api_answers() -> None:
    world = World()
    response = ask(world.client("chat"))
    body = response.json
    assert body is not None
    assert body["answer"] == "Hello there."
    assert body["sources"] == []
    assert body["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == 2
    assert {"conversation_id", "message_id"} <= body.keys()
    assert response.headers["X-Conversation-Id"] == body["conversation_id"]
    assert [message.role for message in world.history.all_messages] == ["user", "assistant"]


def test_a_users_conversation_goes_on_and_is_nobody_elses() -> None:
    world = World()
    client = world.client("chat")
    first = conversation_of(ask(client))
    assert conversation_of(ask(client, question="And then?")) == first
    assert "Hello there." in world.engine.generations[1].prompt
    others = {conversation_of(ask(client, user_id="bob")), conversation_of(ask(world.client("chat")))}
    assert first not in others
    assert len(others) == 2


def test_a_named_bot_has_a_conversation_of_its_own() -> None:
    world = World()
    client = world.client("chat")
    with_default = conversation_of(ask(client))
    with_mira = conversation_of(ask(client, bot="mira"))
    assert with_mira != with_default
    assert conversation_of(ask(client, bot="mira")) == with_mira
    assert conversation_of(ask(client)) == with_mira  # the newest
    assert conversation_of(ask(client, bot="assistant")) == with_default
    assert conversation_of(ask(client, conversation_id=with_mira)) == with_mira


def test_a_conversation_whose_bot_is_gone_does_not_lock_its_user_out() -> None:
    world = World()
    client = world.client("chat")
    with_mira = conversation_of(ask(client, bot="mira"))
    del world.bots.bots["mira"]
    assert conversation_of(ask(client)) != with_mira


def test_somebody_elses_conversation_is_a_404() -> None:
    world = World()
    client = world.client("chat")
    anns = conversation_of(ask(client))
    assert ask(client, user_id="bob", conversation_id=anns).status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question", None),
        ("question", "  "),
        ("question", {"$gt": ""}),
        ("question", "x" * 200_001),
        ("user_id", None),
        ("user_id", ""),
        ("user_id", "   "),
        ("user_id", 42),
        ("user_id", ["ann"]),
        ("user_id", {"$gt": ""}),
        ("user_id", "ann\n"),
        ("user_id", "\x00"),
        ("user_id", "\u202eann"),
        ("user_id", "\ud800"),
        ("user_id", "x" * 201),
        ("bot", "../etc"),
        ("bot", {"$ne": None}),
        ("conversation_id", "1"),
        ("conversation_id", {"$gt": ""}),
        ("stream", True),
        ("owner", "key:x"),
    ],
)
def test_bad_fields_are_refused_by_name_and_nothing_is_stored(field: str, value: object) -> None:
    world = World()
    response = ask(world.client("chat"), **{field: value})
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"]["code"] == "invalid_request"
    assert response.json["error"]["message"].startswith(field)
    assert world.history.all_messages == []


def test_an_unknown_bot_is_a_404_and_a_key_for_kobold_is_not_enough() -> None:
    world = World()
    assert ask(world.client("chat"), bot="nobody").status_code == 404
    assert ask(world.client("kobold")).status_code == 403
