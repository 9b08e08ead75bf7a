"""The completions adapter against scripted servers: llama.cpp's own offers, plain OpenAI ones, and broken ones."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from chatproxy.adapters import engine_stream
from chatproxy.adapters.engine_stream import EngineRefused
from chatproxy.adapters.openai_engine import OpenAiEngine
from chatproxy.core.types import EngineEvent, Finish, Generation, Idle, Sampling, Text
from chatproxy.core.warm_ports import CacheState
from chatproxy.errors import Busy, ContextTooLong, EngineFailure, EngineTimeout, InvalidRequest, Unhealthy
from tests.unit.proxy.adapters.raw_server import RawServer, Script, answer, chunked

LLAMA: dict[str, Any] = {"object": "list", "data": [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 2048}}]}
OTHER: dict[str, Any] = {"object": "list", "data": [{"id": "m", "owned_by": "somebody"}]}
ALL_SAMPLERS = Sampling(
    temperature=0.5,
    top_p=0.9,
    top_k=40,
    min_p=0.05,
    top_a=0.1,
    typical=0.9,
    tfs=0.95,
    rep_pen=1.1,
    rep_pen_range=256,
    rep_pen_slope=0.7,
    sampler_order=(6, 0, 1, 2, 3, 4, 5),
    sampler_seed=7,
    ban_eos_token=False,
    grammar="root ::= [a-z]+",
)
ORDER = Generation("P", 20, ("s1", "s2", "s3", "s4", "s5"), ALL_SAMPLERS)


def event(text: str, reason: str | None = None, **more: Any) -> bytes:
    payload = {"choices": [{"text": text, "index": 0, "finish_reason": reason}], **more}
    return f"data: {json.dumps(payload)}\n\n".encode()


def server(stream: Script, models: dict[str, Any] = LLAMA, **paths: Script) -> RawServer:
    scripts = {"/v1/models": answer(json.dumps(models).encode()), "/v1/completions": stream}
    return RawServer({**scripts, **{f"/{path}": script for path, script in paths.items()}})


def engine_at(url: str, **times: float) -> OpenAiEngine:
    return OpenAiEngine(url, model="m", first_token_s=times.get("first_s", 5), idle_s=times.get("idle_s", 5))


def text_of(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
GOOD = chunked(event("Grü"), event("ße"), event("", "stop"), event("", None, usage=USAGE), b"data: [DONE]\n\n")


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_an_answer_streams_and_ends_with_usage(suffix: str) -> None:
    with server(GOOD) as double:
        events = list(engine_at(double.url + suffix).generate(ORDER))
    assert text_of(events) == "Grüße"
    assert events[-1] == Finish("stop", 3, 2)


def test_characters_cut_between_chunks_stay_whole() -> None:
    raw = event("🙂", "stop").replace(b"\\ud83d\\ude42", "🙂".encode())
    cut = raw.index("🙂".encode()) + 2
    with server(chunked(raw[:cut], raw[cut:])) as double:
        assert text_of(list(engine_at(double.url).generate(ORDER))) == "🙂"


def test_llama_cpp_gets_its_own_sampler_names_and_only_those_it_has() -> None:
    with server(GOOD) as double:
        list(engine_at(double.url).generate(ORDER))
        (body,) = double.bodies("/v1/completions")
    assert body == {
        "model": "m",
        "prompt": "P",
        "max_tokens": 20,
        "stop": ["s1", "s2", "s3", "s4", "s5"],
        "stream": True,
        "return_progress": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "typical_p": 0.9,
        "repeat_penalty": 1.1,
        "repeat_last_n": 256,
        "seed": 7,
        "ignore_eos": False,
        "grammar": "root ::= [a-z]+",
    }


def test_other_servers_get_what_openai_knows() -> None:
    with server(GOOD, OTHER) as double:
        list(engine_at(double.url).generate(ORDER))
        (body,) = double.bodies("/v1/completions")
    assert body.keys() == {
        *("model", "prompt", "max_tokens", "stop", "stream", "stream_options", "temperature", "top_p", "seed")
    }
    assert body["stop"] == ["s1", "s2", "s3", "s4"]


def test_tokens_and_context_are_llama_cpps_own() -> None:
    with server(GOOD, tokenize=answer(b'{"tokens":[1,2,3]}')) as double:
        engine = engine_at(double.url)
        assert engine.count_tokens("a<|im_end|>b") == 3
        assert engine.context_size() == 2048
        assert double.bodies("/tokenize") == [{"content": "a<|im_end|>b", "add_special": True, "parse_special": True}]


def test_without_a_tokenizer_tokens_are_estimated_high() -> None:
    with server(GOOD, OTHER) as double:
        engine = engine_at(double.url)
        assert engine.count_tokens("four words of English") == 11
        assert engine.context_size() is None


REFUSAL = b'{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}'
BROKEN = [
    (answer(b"null"), EngineFailure),
    (answer(b"<html>hello</html>", kind="text/html"), EngineFailure),
    (answer(b'{"error":"no"}', status="500 Internal Server Error"), EngineFailure),
    (answer(b'{"error":"key"}', status="401 Unauthorized"), EngineFailure),
    (answer(b"{}", status="503 Service Unavailable"), Busy),
    (answer(b"{}", status="429 Too Many Requests"), Busy),
    (answer(REFUSAL, status="400 Bad Request"), ContextTooLong),
    (chunked(event("Half")), EngineFailure),
    (chunked(event("Half"))[:-1], EngineFailure),
    (chunked(event("Half"), b"data: {broken\n\n"), EngineFailure),
    (chunked(b"data: [1]\n\n"), EngineFailure),
    (chunked(b'data: {"choices":[{"text":7}]}\n\n'), EngineFailure),
    (chunked(b'data: {"error":{"message":"boom"}}\n\n'), EngineFailure),
    (chunked(b"data: [DONE]\n\n"), EngineFailure),
    ([b"SSH-2.0-OpenSSH_9.2\r\n"], EngineFailure),
    ([b""], EngineFailure),
    ([b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"], EngineFailure),
    (chunked(b": ping\n\n", 0.7, b": ping\n\n", 0.7, b": ping\n\n", 9.0), EngineTimeout),
    (chunked(event("a"), 9.0), EngineTimeout),
]


@pytest.mark.parametrize(("script", "error"), BROKEN)
def test_a_misbehaving_engine_is_a_typed_error(script: Script, error: type[Exception]) -> None:
    with server(script) as double, pytest.raises(error):
        list(engine_at(double.url, first_s=1.2, idle_s=1.2).generate(ORDER))


@pytest.mark.parametrize(
    "body",
    [[b"{}", *[b"x" * 60_000, 0.05] * 100], [b"{}", 30.0]],
    ids=["without end", "left open"],
)
def test_a_refusal_keeps_nobody_waiting(body: list[bytes | float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_stream, "_ERROR_S", 0.2)
    began = time.monotonic()
    with server([b"HTTP/1.1 401 Unauthorized\r\n\r\n", *body]) as double:
        with pytest.raises(EngineRefused, match="HTTP 401"):
            list(engine_at(double.url, first_s=60, idle_s=60).generate(ORDER))
        assert time.monotonic() - began < 4


def test_an_error_that_is_null_is_none() -> None:
    with server(chunked(event("yes", "stop", error=None), b"data: [DONE]\n\n")) as double:
        assert text_of(list(engine_at(double.url).generate(ORDER))) == "yes"


def test_a_grammar_that_the_engine_cannot_read_is_the_askers_mistake() -> None:
    refusal = answer(b'{"error":{"code":400,"message":"Failed to parse grammar"}}', status="400 Bad Request")
    with server(refusal) as double:
        with pytest.raises(InvalidRequest, match="grammar"):
            list(engine_at(double.url).generate(replace(ORDER, sampling=Sampling(grammar="root ::="))))
        with pytest.raises(EngineFailure):
            list(engine_at(double.url).generate(replace(ORDER, sampling=Sampling())))


def test_events_that_came_together_are_told_together_but_not_thousands() -> None:
    end = event("", "stop") + b"data: [DONE]\n\n"
    with server(chunked(b"".join(event("a") for _ in range(1000)) + end)) as double:
        texts = [each for each in engine_at(double.url).generate(ORDER) if isinstance(each, Text)]
    assert "".join(each.text for each in texts) == "a" * 1000
    assert len(texts) < 100
    assert max(each.tokens for each in texts) <= 32
    assert sum(each.tokens for each in texts) <= 1002


def test_leaving_closes_the_connection() -> None:
    slow: list[bytes | float] = [0.05, event("b")] * 100
    with server(chunked(event("a"), *slow)) as double:
        events = engine_at(double.url).generate(ORDER)
        assert next(events) == Idle()  # the request is out
        assert next(events) == Text("a")
        events.close()
        assert double.left.wait(2)


def test_llama_cpps_slots_tell_how_old_its_cache_is_and_what_of_it_is_empty() -> None:
    slots = [{"id": 0}, {"id": 1, "id_task": 4}, {"id": 2, "id_task": 11}, {"id": 3}]
    with server(GOOD, slots=answer(json.dumps(slots).encode())) as engine:
        assert engine_at(engine.url).cache() == CacheState(12, (0, 3))
    with server(GOOD, slots=answer(json.dumps([{"id": 0}]).encode())) as engine:
        assert engine_at(engine.url).cache() == CacheState(0, (0,))


@pytest.mark.parametrize("slots", [answer(b"{}"), answer(b"[1]"), answer(b"no", status="501 Not Implemented")])
def test_a_cache_that_is_not_told_is_unknown(slots: Script) -> None:
    with server(GOOD, slots=slots) as engine:
        assert engine_at(engine.url).cache() is None


def test_others_are_not_asked_about_their_cache() -> None:
    with server(GOOD, OTHER, slots=answer(b"[]")) as engine:
        assert engine_at(engine.url).cache() is None
        assert not engine.bodies("/slots")


def test_only_llama_cpp_is_told_which_slot() -> None:
    for models, told in ((LLAMA, 3), (OTHER, None)):
        with server(GOOD, models) as engine:
            list(engine_at(engine.url).generate(replace(ORDER, slot=3)))
            assert [body.get("id_slot") for body in engine.bodies("/v1/completions")] == [told]


def test_a_key_is_sent_with_every_call() -> None:
    with server(GOOD, tokenize=answer(b'{"tokens":[]}')) as double:
        engine = OpenAiEngine(double.url, model="m", api_key="sk-1")
        list(engine.generate(ORDER))
        engine.count_tokens("x")
        assert all("authorization: bearer sk-1" in head.lower() for head in double.heads)


def test_health() -> None:
    with server(GOOD) as double:
        engine_at(double.url).check()
    with (
        RawServer({"/v1/models": answer(b"{}", status="503 Service Unavailable")}) as double,
        pytest.raises(Unhealthy, match="loading"),
    ):
        engine_at(double.url).check()


@pytest.mark.parametrize("name", [["m"], {"m": 1}, None, 7])
def test_a_list_of_models_whose_names_are_none_makes_an_engine_unwell(name: Any) -> None:
    models = {"object": "list", "data": [{"id": name, "owned_by": "vllm"}]}
    with server(GOOD, models) as double, pytest.raises(Unhealthy, match="no model of the name m"):
        engine_at(double.url).check()
