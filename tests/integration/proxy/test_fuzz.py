"""Many generated requests against the real proxy on the real services: what it answers is what /openapi.json says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis

from tests.integration.proxy.conftest import Proxy, running_proxy
from tests.unit.proxy.described import call_and_check

MODEL = "SmolLM2-135M-Instruct.Q4_1"
# Short answers, so that many requests are answered by the engine; each under the name that a family has for it.
LENGTHS = ("max_length", "max_tokens", "max_completion_tokens")
SHORT = 4


class Api:
    """The proxy, its description, and a key of all scopes."""

    def __init__(self, proxy: Proxy) -> None:
        self.key = {"Authorization": f"Bearer {proxy.new_key('chat,kobold,admin')}"}
        self.url = proxy.url
        self.document: dict[str, Any] = requests.get(f"{proxy.url}/openapi.json", timeout=10).json()
        config = schemathesis.Config.from_dict({"generation": {"max-examples": 40, "deterministic": True}})
        self.schema = schemathesis.openapi.from_url(f"{proxy.url}/openapi.json", config=config)
        self.schema.hook(self.map_body)
        self.schema.hook(self.map_path_parameters)

    def map_body(self, context: schemathesis.HookContext, body: Any) -> Any:
        """Known models and bots; answers of a few tokens."""
        if isinstance(body, dict):
            model = body.get("model")
            if isinstance(model, str) and 1 <= len(model) <= 200:
                body["model"] = (MODEL, "brief")[len(model) % 2]
            if isinstance(body.get("message") or body.get("question"), str) and body.get("bot") is None:
                body["bot"] = "brief"
            for name in LENGTHS:
                if isinstance(body.get(name), int) and SHORT <= body[name] <= 8192:
                    body[name] = SHORT
        return body

    def map_path_parameters(self, context: schemathesis.HookContext, path_parameters: dict[str, Any] | None) -> Any:
        """For some of the ids, those of a conversation that there is."""
        for name, value in (path_parameters or {}).items():
            if name in ("conversation_id", "message_id") and len(value) == 32 and value < "4":
                body = {"message": "Hello", "bot": "brief"}
                asked = requests.post(f"{self.url}/api/v1/chat", json=body, headers=self.key, timeout=60)
                path_parameters[name] = asked.json()[name]
        return path_parameters


@pytest.fixture(scope="module")
def fuzzed(native: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_proxy(native, tmp_path_factory.mktemp("fuzzed")) as proxy:
        yield Api(proxy)


@pytest.fixture
def schema(fuzzed: Api) -> Any:
    return fuzzed.schema


SCHEMA = schemathesis.pytest.from_fixture("schema")


@pytest.mark.long
@SCHEMA.parametrize()
def test_every_answer_is_described(case: schemathesis.Case, fuzzed: Api) -> None:
    call_and_check(case, fuzzed.document, fuzzed.key)
