"""OpenAI's models and embeddings."""

from __future__ import annotations

import base64
import struct

import pytest

from chatproxy.core.types import Bot
from chatproxy.errors import EngineTimeout
from chatproxy.settings import Settings
from tests.unit.proxy.fakes import ASSISTANT, FakeBots, World
from tests.unit.proxy.web.openai_calls import error_of


def test_models_are_the_engines_and_all_bots() -> None:
    world = World(bots=FakeBots(ASSISTANT, Bot("org/name", "x")), settings=Settings(trusted_hops=0, model="SmolLM2"))
    client = world.client("chat")
    body = client.get("/v1/models").json
    assert body is not None
    assert body["object"] == "list"
    assert [entry["id"] for entry in body["data"]] == ["SmolLM2", "assistant", "org/name"]
    assert client.get("/v1/models/org/name").json == body["data"][2]
    assert set(body["data"][0]) == {"id", "object", "created", "owned_by"}
    missing = client.get("/v1/models/nobody")
    assert missing.status_code == 404
    assert error_of(missing)["code"] == "model_not_found"


def test_embeddings_as_floats_and_as_base64() -> None:
    world = World()
    client = world.client("chat")
    body = client.post("/v1/embeddings", json={"model": "any", "input": ["one two", "three"]}).json
    assert body == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [7.0, 2.0]},
            {"object": "embedding", "index": 1, "embedding": [5.0, 1.0]},
        ],
        "model": "any",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    packed = client.post("/v1/embeddings", json={"model": "m", "input": "one", "encoding_format": "base64"}).json
    assert packed is not None
    assert struct.unpack("<2f", base64.b64decode(packed["data"][0]["embedding"])) == (3.0, 1.0)


def test_embeddings_whose_service_tells_no_tokens_have_no_usage() -> None:
    world = World()
    world.embedder.tells_tokens = False
    body = world.client().post("/v1/embeddings", json={"model": "m", "input": "x"}).json
    assert body is not None
    assert body["usage"] is None


def test_a_failing_embeddings_service_is_a_server_error() -> None:
    world = World()
    world.embedder.error = EngineTimeout("embeddings:8080")
    response = world.client().post("/v1/embeddings", json={"model": "m", "input": "x"})
    assert response.status_code == 504
    assert error_of(response)["type"] == "server_error"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", None),
        ("input", None),
        ("input", ""),
        ("input", []),
        ("input", ["a", ""]),
        ("input", ["a"] * 257),
        ("input", "x" * 100_001),
        ("input", ["x" * 90_000] * 12),
        ("input", [1, 2]),
        ("input", [[1, 2]]),
        ("input", {"a": 1}),
        ("encoding_format", "hex"),
        ("encoding_format", ["float"]),
        ("dimensions", 10),
    ],
)
def test_embeddings_bad_fields_are_refused_by_name(field: str, value: object) -> None:
    world = World()
    response = world.client().post("/v1/embeddings", json={"model": "m", "input": "x", field: value})
    assert response.status_code == 400
    assert error_of(response)["param"] == field
    assert world.embedder.texts == []
