"""What OpenAI's routes refuse, by name and in OpenAI's envelope."""

from __future__ import annotations

import pytest

from chatproxy.settings import Settings
from tests.unit.proxy.fakes import World
from tests.unit.proxy.web.openai_calls import CHAT, TEXT, chat, error_of, text

IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}]


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("model", None, "model"),
        ("model", 5, "model"),
        ("messages", None, "messages"),
        ("messages", [], "messages"),
        ("messages", [{"role": "user", "content": "x"}] * 1001, "messages"),
        ("messages", ["Hello"], "messages[0]"),
        ("messages", [{"role": "system", "content": "x"}], "messages"),
        ("messages", [{"role": "robot", "content": "x"}], "messages[0].role"),
        ("messages", [{"role": ["user"], "content": "x"}], "messages[0].role"),
        ("messages", [{"role": "tool", "content": "x", "tool_call_id": "1"}], "messages[0].role"),
        ("messages", [{"role": "assistant", "content": "x", "tool_calls": [{}]}], "messages[0].tool_calls"),
        ("messages", [{"role": "user"}], "messages[0].content"),
        ("messages", [{"role": "user", "content": {"text": "x"}}], "messages[0].content"),
        ("messages", [{"role": "user", "content": "\ud800"}], "messages[0].content"),
        ("messages", [{"role": "user", "content": "x" * 200_001}], "messages[0].content"),
        ("messages", [{"role": "user", "content": [{"type": "text", "text": 1}]}], "messages[0].content[0]"),
        ("messages", [{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0]"),
        ("messages", IMAGE, "messages[0].content[0].image_url.url"),
        ("temperature", 2.1, "temperature"),
        ("temperature", "hot", "temperature"),
        ("top_p", -0.1, "top_p"),
        ("max_tokens", 0, "max_tokens"),
        ("max_completion_tokens", "many", "max_completion_tokens"),
        ("stop", ["a", "b", "c", "d", "e"], "stop"),
        ("stop", [1], "stop"),
        ("stop", {"a": 1}, "stop"),
        ("stop", "x" * 201, "stop"),
        ("seed", 2**64, "seed"),
        ("seed", 1.5, "seed"),
        ("frequency_penalty", 3, "frequency_penalty"),
        ("presence_penalty", True, "presence_penalty"),
        ("response_format", "json", "response_format"),
        ("response_format", {"type": "json_schema", "json_schema": {}}, "response_format"),
        ("n", 2, "n"),
        ("n", True, "n"),
        ("top_logprobs", False, "top_logprobs"),
        ("logprobs", True, "logprobs"),
        ("top_logprobs", 3, "top_logprobs"),
        ("logit_bias", {"50256": -100}, "logit_bias"),
        ("tools", [{"type": "function"}], "tools"),
        ("tool_choice", "required", "tool_choice"),
        ("functions", [{"name": "f"}], "functions"),
        ("audio", {"voice": "x"}, "audio"),
        ("modalities", ["text", "audio"], "modalities"),
        ("continue_final_message", True, "continue_final_message"),
        ("stream", 1, "stream"),
        ("stream_options", {"include_usage": True}, "stream_options"),
    ],
)
def test_a_chats_bad_and_unoffered_fields_are_refused_by_name(field: str, value: object, param: str) -> None:
    world = World()
    response = chat(world.client(), **{field: value})
    assert response.status_code == 400
    error = error_of(response)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"].startswith(param)
    assert world.engine.generations == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", ""),
        ("prompt", 5),
        ("prompt", ["a", "b"]),
        ("prompt", [1, 2, 3]),
        ("prompt", [[1, 2, 3]]),
        ("model", "assistant"),
        ("echo", True),
        ("suffix", "end"),
        ("best_of", 2),
        ("n", 3),
        ("logprobs", 0),
        ("logit_bias", {"1": 1}),
        ("max_tokens", -1),
        ("stream_options", 5),
    ],
)
def test_completions_bad_and_unoffered_fields_are_refused_by_name(field: str, value: object) -> None:
    world = World()
    response = text(world.client(), **{field: value})
    assert response.status_code == 400
    assert error_of(response)["param"] == field
    assert world.engine.generations == []


def test_both_names_of_the_answers_length_are_one_too_many() -> None:
    assert error_of(chat(World().client(), max_tokens=5, max_completion_tokens=5))["param"] == "max_tokens"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a": NaN}', b"\xff"])
def test_a_body_that_is_no_object_is_a_400_in_openais_envelope(body: bytes) -> None:
    response = World().client().post("/v1/chat/completions", data=body)
    assert response.status_code == 400
    assert error_of(response)["param"] is None


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_an_unknown_model_is_404_model_not_found(path: str) -> None:
    world = World()
    response = world.client().post(path, json={**CHAT, **TEXT, "model": "gpt-4o"})
    assert response.status_code == 404
    error = error_of(response)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "gpt-4o" in error["message"]
    assert world.engine.generations == []


def test_what_cannot_fit_is_400_context_length_exceeded() -> None:
    world = World(settings=Settings(trusted_hops=0, context_size=512))
    client = world.client()
    long = "word " * 600
    for response in (chat(client, messages=[{"role": "user", "content": long}]), text(client, prompt=long)):
        assert response.status_code == 400
        error = error_of(response)
        assert error["code"] == "context_length_exceeded"
        assert error["message"].endswith("(context_length_exceeded)")  # what LangChain looks for
    assert world.engine.generations == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/responses", 404, "not_found"),
        ("GET", "/v1/models", 401, "invalid_api_key"),
    ],
)
def test_other_errors_below_v1_have_openais_envelope_too(method: str, path: str, status: int, code: str) -> None:
    response = World().app.test_client().open(path, method=method)
    assert response.status_code == status
    error = error_of(response)
    assert (error["code"], error["type"]) == (code, "invalid_request_error")


def test_a_key_without_the_scope_is_403() -> None:
    response = chat(World().client("kobold"))
    assert response.status_code == 403
    assert error_of(response)["code"] == "insufficient_permissions"
