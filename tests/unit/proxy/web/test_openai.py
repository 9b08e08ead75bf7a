"""OpenAI's chat completions and completions: what reaches the engine, exact answers and exact streams."""

from __future__ import annotations

import json
from typing import Any

from chatproxy.core.types import Sampling, Text
from chatproxy.errors import EngineFailure, EngineTimeout
from chatproxy.settings import Settings
from chatproxy.web.openai_chat import JSON_GRAMMAR
from tests.unit.proxy.fakes import ASSISTANT, FakeEngine, World, says
from tests.unit.proxy.web.openai_calls import chat, chunks, error_of, text


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
