"""Calls of OpenAI's routes, and what they answer."""

from __future__ import annotations

import json
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

CHAT: dict[str, Any] = {"model": "model", "messages": [{"role": "user", "content": "Hello"}]}
TEXT: dict[str, Any] = {"model": "model", "prompt": "Once"}


def chat(client: FlaskClient, **fields: Any) -> TestResponse:
    return client.post("/v1/chat/completions", json={**CHAT, **fields})


def text(client: FlaskClient, **fields: Any) -> TestResponse:
    return client.post("/v1/completions", json={**TEXT, **fields})


def chunks(response: TestResponse) -> list[Any]:
    """The `data:` lines of a stream, decoded but for [DONE]; comments are left out."""
    lines = [line[6:] for line in response.get_data(as_text=True).split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def error_of(response: TestResponse) -> dict[str, Any]:
    assert response.json is not None
    error = response.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)
