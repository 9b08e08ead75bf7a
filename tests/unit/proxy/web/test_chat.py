"""POST /api/v1/chat: JSON and events, validation, and every error with its status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from chatproxy.core.types import Text
from chatproxy.errors import Busy, EngineFailure, EngineTimeout
from chatproxy.settings import Settings
from tests.unit.proxy.fakes import FakeEngine, World, says


def events_of(response: TestResponse) -> list[tuple[str, Any]]:
    """(name, data) of every event; comments are left out."""
    return list(_events(response.get_data(as_text=True)))


def _events(text: str) -> Iterator[tuple[str, Any]]:
    for block in text.split("\n\n"):
        if block and not block.startswith(":"):
            name, *_, data = block.split("\n")
            yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_an_answer_as_json() -> None:
    world = World(engine=FakeEngine(says("**Hello** ", "🙂")))
    response = world.client().post("/api/v1/chat", json={"message": "Hi"})
    assert response.status_code == 200
    body = response.json
    assert body is not None
    assert body == {
        "conversation_id": response.headers["X-Conversation-Id"],
        "message_id": response.headers["X-Message-Id"],
        "answer": "**Hello** 🙂",
        "answer_html": "<p><strong>Hello</strong> 🙂</p>\n",
        "sources": [],
        "finish_reason": "stop",
        "usage": body["usage"],
        "context_truncated": False,
    }
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


def test_an_answer_as_events() -> None:
    world = World(engine=FakeEngine(says("Hello", " <b>", " you")))
    response = world.client().post("/api/v1/chat", json={"message": "Hi", "stream": True})
    assert response.content_type == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    events = events_of(response)
    assert [data["text"] for name, data in events if name == "token"] == ["Hello", " <b>", " you"]
    name, done = events[-1]
    assert (name, done["answer"], done["message_id"]) == ("done", "Hello <b> you", response.headers["X-Message-Id"])


def test_a_conversation_goes_on() -> None:
    world = World()
    client = world.client()
    first = client.post("/api/v1/chat", json={"message": "I am Ada"}).json
    assert first is not None
    second = client.post(
        "/api/v1/chat", json={"message": "Who am I?", "conversation_id": first["conversation_id"], "bot": None}
    ).json
    assert second is not None
    assert second["conversation_id"] == first["conversation_id"]
    assert "I am Ada" in world.engine.generations[-1].prompt


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "message: is missing or empty"),
        ({"message": "  \n"}, "message: is missing or empty"),
        ({"message": 5}, "message: must be text"),
        ({"message": ["a"]}, "message: must be text"),
        ({"message": {"$gt": ""}}, "message: must be text"),
        ({"message": "a" * 200_001}, "message: has 200001 characters"),
        ({"message": "\ud83d"}, "message: holds half of a surrogate pair"),
        ({"message": "a", "conversation_id": "1"}, "conversation_id: must be the id of a conversation"),
        ({"message": "a", "conversation_id": {"$ne": None}}, "conversation_id: must be"),
        ({"message": "a", "bot": "../x"}, "bot: must be the name of a bot"),
        ({"message": "a", "stream": "yes"}, "stream: must be true or false"),
        ({"message": "a", "temprature": 1}, "temprature: no such field"),
    ],
)
def test_bad_fields_are_named(body: dict[str, Any], told: str) -> None:
    world = World()
    response = world.client().post("/api/v1/chat", json=body)
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"]["code"] == "invalid_request"
    assert told in response.json["error"]["message"]
    assert world.history.all_messages == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"a"', b"\xff", b'{"message": NaN}', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"],
)
def test_bodies_that_are_no_json_object_are_refused(body: bytes) -> None:
    response = World().client().post("/api/v1/chat", data=body)
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"]["code"] == "invalid_request"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["message", "conversation_id", "bot", "stream"])


@given(st.dictionaries(FIELDS | st.text(max_size=8), JSON, max_size=5))
def test_no_body_is_a_server_error(body: dict[str, Any]) -> None:
    response = World().client().post("/api/v1/chat", data=json.dumps(body))
    assert response.status_code in (200, 400, 404)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineFailure("http://engine:5001 refused"), 502, "engine_error"),
        (EngineTimeout("silent"), 504, "engine_timeout"),
        (Busy("HTTP 503", retry_after=5), 503, "busy"),
    ],
)
def test_engine_errors_have_their_status_and_show_no_inside(error: Exception, status: int, code: str) -> None:
    world = World(engine=FakeEngine([Text("Half"), error]))
    client = world.client()
    response = client.post("/api/v1/chat", json={"message": "Hi"})
    assert response.status_code == status
    assert response.json is not None
    assert response.json["error"]["code"] == code
    assert "5001" not in response.get_data(as_text=True)
    name, data = events_of(client.post("/api/v1/chat", json={"message": "Hi", "stream": True}))[-1]
    assert (name, data["code"]) == ("error", code)
    assert "5001" not in data["message"]


def test_an_unexpected_error_is_a_typed_one_without_a_trace_and_without_content_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(engine=FakeEngine([RuntimeError("secret words")]))
    client = world.client()
    response = client.post("/api/v1/chat", json={"message": "Hi"})
    assert response.status_code == 500
    stream = events_of(client.post("/api/v1/chat", json={"message": "Hi", "stream": True}))
    assert stream[-1][1]["code"] == "internal_error"
    assert "Traceback" not in response.get_data(as_text=True)
    assert "RuntimeError" in caplog.text
    assert "secret words" not in caplog.text


def test_beyond_the_queue_it_is_busy_with_retry_after() -> None:
    world = World(settings=Settings(trusted_hops=0, engine_slots=1, queue_size=0))
    client = world.client()
    waiting = client.post("/api/v1/chat", json={"message": "Hi", "stream": True}, buffered=False)
    response = client.post("/api/v1/chat", json={"message": "Me too", "stream": True})
    assert response.status_code == 503
    assert response.json is not None
    assert response.json["error"]["code"] == "busy"
    assert int(response.headers["Retry-After"]) > 0
    waiting.close()
    assert client.post("/api/v1/chat", json={"message": "Now?"}).status_code == 200


def test_the_stream_cap_limits_the_queue() -> None:
    world = World(settings=Settings(trusted_hops=0, engine_slots=1, queue_size=32, stream_cap=1))
    client = world.client()
    waiting = client.post("/api/v1/chat", json={"message": "Hi", "stream": True}, buffered=False)
    assert client.post("/api/v1/chat", json={"message": "Me too"}).status_code == 503
    waiting.close()


def test_a_stream_closed_before_it_was_read_frees_the_slot_and_keeps_the_question() -> None:
    world = World(settings=Settings(trusted_hops=0, engine_slots=1, queue_size=0))
    client = world.client()
    for _ in range(3):
        client.post("/api/v1/chat", json={"message": "Hi", "stream": True}, buffered=False).close()
    assert client.post("/api/v1/chat", json={"message": "Hi"}).status_code == 200
    assert [message.role for message in world.history.all_messages].count("user") == 4


def test_a_message_too_long_for_the_window_is_told_in_numbers() -> None:
    world = World(settings=Settings(trusted_hops=0, context_size=256))
    response = world.client().post("/api/v1/chat", json={"message": "word " * 500, "stream": True})
    assert response.status_code == 422
    assert response.json is not None
    assert response.json["error"]["code"] == "context_too_long"
    assert "256" in response.json["error"]["message"]


def test_storage_that_is_down_is_a_503_that_says_so() -> None:
    world = World()
    client = world.client()
    world.history.down = True
    response = client.post("/api/v1/chat", json={"message": "Hi"})
    assert response.status_code == 503
    assert response.json is not None
    assert response.json["error"]["code"] == "storage_unavailable"
    assert "Retry-After" in response.headers


def test_a_lost_stream_goes_on_behind_the_last_event_id() -> None:
    world = World(engine=FakeEngine([Text("Grüße 🙂 an"), EngineFailure("died")]))
    client = world.client()
    lost = client.post("/api/v1/chat", json={"message": "Hi", "stream": True})
    assert "id: 10\n" in lost.get_data(as_text=True)
    world.engine.script = says(" alle")
    address = f"/api/v1/chat/{lost.headers['X-Message-Id']}/stream"
    resumed = client.get(address, headers={"Last-Event-ID": "7"})
    assert resumed.status_code == 200
    assert [data["text"] for name, data in events_of(resumed) if name == "token"] == [" an", " alle"]
    assert events_of(resumed)[-1][1]["answer"] == "Grüße 🙂 an alle"
    assert "id: 15\n" in resumed.get_data(as_text=True)
    assert client.get(address, headers={"Last-Event-ID": "x"}).status_code == 400
    assert client.get("/api/v1/chat/nothing/stream").status_code == 404


def test_a_failed_answer_tells_where_its_question_is() -> None:
    world = World(engine=FakeEngine([EngineFailure("refused")]))
    failed = world.client().post("/api/v1/chat", json={"message": "Hi"})
    assert failed.status_code == 502
    assert world.history.message("key:" + world.keys.looked_up[0], failed.headers["X-Message-Id"]).role == "assistant"
    assert failed.headers["X-Conversation-Id"] in world.history.stored


def test_an_answer_is_given_anew_and_a_question_edited() -> None:
    world = World(engine=FakeEngine(says("first")))
    client = world.client()
    first = client.post("/api/v1/chat", json={"message": "Hi"}).json
    assert first is not None
    world.engine.script = says("second")
    second = client.post(f"/api/v1/messages/{first['message_id']}/regenerate").json
    assert second is not None
    assert (second["answer"], second["conversation_id"]) == ("second", first["conversation_id"])
    question = world.history.all_messages[0].id
    edited = client.post("/api/v1/chat", json={"message": "Hello", "edit": question}).json
    assert edited is not None
    assert [message.text for message in world.history.all_messages] == ["Hello", "second"]


def test_cancelling_what_has_ended_does_nothing_and_says_so() -> None:
    world = World()
    client = world.client()
    done = client.post("/api/v1/chat", json={"message": "Hi"}).json
    assert done is not None
    assert client.post(f"/api/v1/chat/{done['message_id']}/cancel").json == {"cancelled": False}
    assert client.post(f"/api/v1/chat/{'0' * 32}/cancel").status_code == 404
