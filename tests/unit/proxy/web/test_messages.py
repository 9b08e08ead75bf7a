"""Feedback on answers."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.proxy.fakes import World


def _asked(client: FlaskClient) -> tuple[str, str, str]:
    """Ids of a conversation, its question and its answer."""
    body = client.post("/api/v1/chat", json={"message": "Hi"}).json
    assert body is not None
    messages = _messages(client, body["conversation_id"])
    return body["conversation_id"], messages[0]["id"], messages[1]["id"]


def _messages(client: FlaskClient, conversation_id: str) -> list[dict[str, Any]]:
    body = client.get(f"/api/v1/conversations/{conversation_id}").json
    assert body is not None
    return list(body["messages"])


def test_an_answer_is_rated_anew_and_no_more() -> None:
    client = World().client()
    conversation_id, _, answer = _asked(client)
    url = f"/api/v1/messages/{answer}/feedback"
    assert _messages(client, conversation_id)[1]["feedback"] is None
    for sent, kept in (
        ({"rating": "up"}, {"rating": "up", "comment": ""}),
        ({"rating": "down", "comment": "x" * 2000}, {"rating": "down", "comment": "x" * 2000}),
        ({"rating": "up", "comment": None}, {"rating": "up", "comment": ""}),
        ({"rating": None}, None),
    ):
        response = client.post(url, json=sent)
        assert (response.status_code, response.json) == (200, {"message_id": answer, "feedback": kept})
        question, rated = _messages(client, conversation_id)
        assert rated["feedback"] == kept
        assert "feedback" not in question


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "rating"),
        ({"comment": "x"}, "rating"),
        ({"rating": "best"}, "rating"),
        ({"rating": "up\n"}, "rating"),
        ({"rating": True}, "rating"),
        ({"rating": {"$ne": None}}, "rating"),
        ({"rating": "up", "comment": "x" * 2001}, "comment"),
        ({"rating": "up", "comment": {"$gt": ""}}, "comment"),
        ({"rating": "up", "comment": "\ud800"}, "comment"),
        ({"rating": None, "comment": "why"}, "comment"),
        ({"rating": "up", "stars": 5}, "stars"),
    ],
)
def test_bad_feedback_is_named(body: dict[str, Any], field: str) -> None:
    client = World().client()
    conversation_id, _, answer = _asked(client)
    response = client.post(f"/api/v1/messages/{answer}/feedback", json=body)
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"]["message"].startswith(f"{field}: ")
    assert _messages(client, conversation_id)[1]["feedback"] is None


def test_a_question_cannot_be_rated() -> None:
    client = World().client()
    _, question, _ = _asked(client)
    response = client.post(f"/api/v1/messages/{question}/feedback", json={"rating": "up"})
    assert response.status_code == 400


def test_somebody_elses_answer_does_not_exist() -> None:
    world = World()
    mine, yours = world.client(), world.client()
    conversation_id, _, answer = _asked(mine)
    url = f"/api/v1/messages/{answer}/feedback"
    for client, path in ((yours, url), (mine, f"{url}?user_id=ada"), (mine, url.replace(answer, "0" * 32))):
        assert client.post(path, json={"rating": "up"}).status_code == 404
    assert _messages(mine, conversation_id)[1]["feedback"] is None


@pytest.mark.parametrize("name", ["x", "0" * 31, "G" * 32, "%00", "$where"])
def test_what_is_no_id_is_not_found(name: str) -> None:
    response = World().client().post(f"/api/v1/messages/{name}/feedback", json={"rating": "up"})
    assert response.status_code == 404
