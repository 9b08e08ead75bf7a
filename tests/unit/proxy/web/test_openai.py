"""OpenAI's routes: exact answers and streams, and by name everything that is refused."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from chatproxy.core.types import Bot, Sampling, Text, Usage
from chatproxy.errors import EngineFailure, EngineTimeout
from chatproxy.settings import Settings
from chatproxy.web.chat import usage
from chatproxy.web.openai_chat import JSON_GRAMMAR
from tests.unit.proxy.fakes import ASSISTANT, FakeBots, FakeEngine, World, says

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


def test_a_chat_is_answered_by_the_bare_model_and_nothing_is_stored() -> None:
    world = World()
    response = chat(world.client("chat"), max_tokens=30)
    assert response.status_code == 200
    body = response.json
    assert body is not None
    assert body.pop("id").startswith("chatcmpl-")
    assert body.pop("created") > 1_700_000_000
    (generation,) = world.engine.generations
    prompt_tokens = world.engine.count_tokens(generation.prompt)
    assert body == {
        "object": "chat.completion",
        "model": "model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 2, "total_tokens": prompt_tokens + 2},
    }
    assert generation.max_tokens == 30
    assert "You are kind." not in generation.prompt
    assert world.history.all_messages == []


def test_a_bots_id_as_model_answers_as_that_bot_with_the_clients_system_text_behind_its_own() -> None:
    world = World()
    messages = [
        {"role": "developer", "content": "Say it in French."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "Un"},
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "And now?", "name": "Ann"},
    ]
    response = chat(world.client("chat"), model="assistant", messages=messages)
    assert response.json is not None
    assert response.json["model"] == "assistant"
    prompt = world.engine.generations[0].prompt
    pieces = ["You are kind.", "Say it in French.", "Be brief.", "One\ntwo", "Un", "And now?"]
    assert [prompt.index(piece) for piece in pieces] == sorted(prompt.index(piece) for piece in pieces)
    assert world.engine.generations[0].max_tokens == ASSISTANT.max_tokens


def test_a_message_of_the_assistant_at_the_end_is_one_more_turn_and_not_continued() -> None:
    world = World()
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
    assert chat(world.client(), messages=messages).status_code == 200
    assert world.engine.generations[0].prompt.endswith("Well<|im_end|>\n<|im_start|>assistant\n")


def test_samplers_are_passed_on_and_those_that_ask_for_nothing_are_not() -> None:
    world = World()
    client = world.client()
    asked = {"temperature": 0.5, "top_p": 0.9, "seed": -1, "presence_penalty": 1.5, "frequency_penalty": -2}
    chat(client, **asked, stop=["\n\n", ""], max_completion_tokens=9)
    text(client, **asked, stop="END", max_tokens=None)
    for generation in world.engine.generations:
        used = generation.sampling
        assert (used.temperature, used.top_p, used.presence_penalty, used.frequency_penalty) == (0.5, 0.9, 1.5, -2)
        assert used.sampler_seed == 2**32 - 2
    first, second = world.engine.generations
    assert (first.max_tokens, second.max_tokens) == (9, 16)
    assert first.stops[-1] == "\n\n"
    assert second.stops == ("END",)
    text(client, presence_penalty=0, frequency_penalty=0.0, stop=None)
    assert world.engine.generations[-1].sampling == Sampling()


def test_the_same_large_seed_is_always_the_same_seed_of_the_engine() -> None:
    world = World()
    client = world.client()
    for seed in (2**63 - 1, 2**63 - 1, 2**32 - 1):
        text(client, seed=seed)
    one, two, three = (generation.sampling.sampler_seed for generation in world.engine.generations)
    assert one == two
    assert three == 0  # 2**32 - 1 would mean "any" to llama.cpp


def test_a_json_object_is_asked_of_the_engine_as_a_grammar() -> None:
    world = World()
    client = world.client()
    chat(client, response_format={"type": "json_object"})
    chat(client, response_format={"type": "text"})
    assert [generation.sampling.grammar for generation in world.engine.generations] == [JSON_GRAMMAR, None]


def test_a_stream_byte_by_byte() -> None:
    world = World(engine=FakeEngine(says("Hé", " you", reason="length")))
    response = chat(world.client("chat"), stream=True)
    assert response.content_type == "text/event-stream; charset=utf-8"
    raw = response.get_data(as_text=True)
    head = json.loads(raw.split("data: ")[1])
    same = f'"id":"{head["id"]}","object":"chat.completion.chunk","created":{head["created"]},"model":"model"'
    assert raw == (
        ": stream\n\n"
        f'data: {{{same},"choices":[{{"index":0,"delta":{{"role":"assistant","content":""}},'
        '"logprobs":null,"finish_reason":null}]}\n\n'
        f'data: {{{same},"choices":[{{"index":0,"delta":{{"content":"Hé"}},"logprobs":null,"finish_reason":null}}]}}'
        "\n\n"
        f'data: {{{same},"choices":[{{"index":0,"delta":{{"content":" you"}},"logprobs":null,"finish_reason":null}}]}}'
        "\n\n"
        f'data: {{{same},"choices":[{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"length"}}]}}\n\n'
        "data: [DONE]\n\n"
    )


def test_a_stream_with_usage_says_null_until_the_chunk_without_choices() -> None:
    world = World()
    response = chat(world.client(), stream=True, stream_options={"include_usage": True})
    *told, counts, done = chunks(response)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None and len(chunk["choices"]) == 1 for chunk in told)
    assert counts["choices"] == []
    assert counts["usage"]["completion_tokens"] == 2
    assert counts["usage"]["total_tokens"] == counts["usage"]["prompt_tokens"] + 2


def test_an_answer_without_a_word_still_has_its_role_and_its_end() -> None:
    begun, ended, done = chunks(chat(World(engine=FakeEngine(says(""))).client(), stream=True))
    assert begun["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (ended["choices"][0]["delta"], ended["choices"][0]["finish_reason"]) == ({}, "stop")
    assert done == "[DONE]"


def test_an_error_in_mid_stream_is_told_in_openais_envelope() -> None:
    world = World(engine=FakeEngine([Text("Well"), EngineTimeout("host:5001")]))
    *_, told, done = chunks(chat(world.client(), stream=True))
    assert told == {
        "error": {
            "message": "The language model did not answer in time.",
            "type": "server_error",
            "param": None,
            "code": "engine_timeout",
        }
    }
    assert done == "[DONE]"


def test_completions_continue_a_prompt_as_it_stands() -> None:
    world = World(engine=FakeEngine(says(" upon", " a time ")))
    body = text(world.client("chat"), prompt=["Once"]).json
    assert body is not None
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert body["choices"] == [{"index": 0, "text": " upon a time ", "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    assert world.engine.generations[0].prompt == "Once"


def test_completions_stream_texts() -> None:
    told = chunks(text(World(engine=FakeEngine(says(" a", " b"))).client(), stream=True))
    assert [chunk["choices"][0]["text"] for chunk in told[:-1]] == [" a", " b", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in told[:-1]] == [None, None, "stop"]
    assert {chunk["object"] for chunk in told[:-1]} == {"text_completion"}
    assert told[-1] == "[DONE]"


def test_other_fields_are_ignored_as_many_clients_send_them() -> None:
    response = chat(
        World().client(),
        user="u",
        metadata={"a": "b"},
        store=True,
        service_tier="auto",
        top_k=4,
        n=1,
        tools=[],
        tool_choice="auto",
        logprobs=False,
        modalities=["text"],
        logit_bias={},
        stop=[],
    )
    assert response.status_code == 200


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
        ("messages", IMAGE, "messages[0].content[0]"),
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
        assert error_of(response)["code"] == "context_length_exceeded"
    assert world.engine.generations == []


def test_turns_that_were_left_out_are_told_in_a_header() -> None:
    world = World(settings=Settings(trusted_hops=0, context_size=512))
    messages = [{"role": role, "content": "word " * 100} for role in ("user", "assistant") * 4]
    messages.append({"role": "user", "content": "And now?"})
    client = world.client()
    for stream in (False, True):
        response = chat(client, messages=messages, max_tokens=20, stream=stream)
        assert response.headers["X-Context-Truncated"] == "true"
        response.close()
    assert "X-Context-Truncated" not in chat(client).headers


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


def test_a_failing_engine_is_a_server_error() -> None:
    response = chat(World(engine=FakeEngine([EngineFailure("host:5001")])).client())
    assert response.status_code == 502
    error = error_of(response)
    assert (error["type"], error["code"], error["param"]) == ("server_error", "engine_error", None)
    assert "host" not in error["message"]


def test_a_count_that_the_engine_could_not_tell_makes_usage_null() -> None:
    def script(_: object) -> Any:
        yield Text("Well.")
        engine.count_error = EngineFailure("no tokenizer")
        yield from says("")

    engine = FakeEngine(script)
    body = chat(World(engine=engine).client()).json
    assert body is not None
    assert body["choices"][0]["message"]["content"] == "Well."
    assert body["usage"] is None
    assert usage(Usage(None, 1))["total_tokens"] is None


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
