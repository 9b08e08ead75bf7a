"""Many generated requests against the real proxy on the real services: what it answers is what /openapi.json says."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis

from tests.integration.proxy.conftest import Client, Proxy
from tests.unit.proxy.described import call_and_check
from tests.unit.proxy.fakes import World

MODEL = "SmolLM2-135M-Instruct.Q4_1"
# Short answers, so that the engine gives many: where a request says how long, and what an absent value would cost.
LENGTHS = {
    "/api/v1/generate": "max_length",
    "/api/latest/generate": "max_length",
    "/api/extra/generate/stream": "max_length",
    "/v1/completions": "max_tokens",
    "/v1/chat/completions": "max_completion_tokens",
}
SHORT = 4
# The description does not depend on what is behind the proxy; one of the tests below makes sure of it.
DOCUMENT: dict[str, Any] = World().app.test_client().get("/openapi.json").get_json()
CONFIG = schemathesis.Config.from_dict(
    {
        "generation": {"max-examples": 10, "deterministic": True, "no-shrink": True},
        # A real engine may fail at what it is asked for, which is described; this server itself may not.
        "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "4xx", "502", "503", "504"]}},
    }
)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)


@pytest.fixture(scope="module")
def client(proxy: Proxy) -> Client:
    return proxy.as_("chat,kobold,admin")


def test_the_description_is_the_same_behind_a_real_server(proxy: Proxy) -> None:
    assert requests.get(f"{proxy.url}/openapi.json", timeout=10).json() == DOCUMENT


@pytest.mark.long
@SCHEMA.parametrize()
def test_every_answer_is_described(case: schemathesis.Case, client: Client) -> None:
    _use_what_there_is(case, client)
    call_and_check(case, DOCUMENT, {"Authorization": f"Bearer {client.key}"}, base_url=client.url)


def _use_what_there_is(case: schemathesis.Case, client: Client) -> None:
    """Known models, bots and conversations in place of some of those that could be; answers of a few tokens."""
    body: Any = case.body
    if isinstance(body, dict):
        model = body.get("model")
        if isinstance(model, str) and 1 <= len(model) <= 200:
            body["model"] = (MODEL, "brief")[len(model) % 2]
        if isinstance(body.get("message") or body.get("question"), str) and body.get("bot") is None:
            body["bot"] = "brief"
        _shorten(body, LENGTHS.get(case.operation.path.rstrip("/"), ""))
        if isinstance(body.get("grammar"), str) and 1 <= len(body["grammar"]) <= 8000:
            body["grammar"] = "root ::= [a-z ]+"  # a description cannot say what the engine's language is
        if case.operation.path.endswith("/knowledge/sources") and isinstance(body.get("url"), str):
            # What a worker reads next must be nobody's: an address that crawlers refuse.
            body["url"] = "http://127.0.0.1:9/" if 1 <= len(body["url"]) <= 2000 else body["url"]
            body.pop("allow_private", None)
        if case.operation.path in ("/api/chat", "/api/generate") and isinstance(body.setdefault("options", {}), dict):
            _shorten(body["options"], "num_predict")
    for name, value in (case.path_parameters or {}).items():
        if name in ("conversation_id", "message_id") and len(value) == 32 and value < "4":
            case.path_parameters[name] = client.chat("Hello").json()[name]


def _shorten(body: dict[str, Any], name: str) -> None:
    """A length that is absent or asks for more becomes a short one; one that is no length stays."""
    if isinstance(body.get("max_tokens"), int):
        name = "max_tokens"  # the older name in chats; both are refused
    asked = body.get(name)
    if name and (asked is None or asked in (-1, -2) or (type(asked) is int and SHORT < asked <= 8192)):
        body[name] = SHORT
