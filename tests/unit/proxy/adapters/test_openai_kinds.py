"""vLLM, text-generation-inference and Ollama as their documentation has them: what is asked, and what is understood."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatproxy.adapters.openai_engine import OpenAiEngine
from chatproxy.core.types import EngineEvent, Finish, Generation, Sampling, Text
from chatproxy.errors import ContextTooLong, EngineFailure, EngineTimeout, Unhealthy
from tests.unit.proxy.adapters.raw_server import RawServer, Script, answer, chunked

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
SAMPLING = Sampling(
    temperature=0.5,
    top_p=1.0,
    top_k=0,
    min_p=0.05,
    rep_pen=1.1,
    rep_pen_range=256,
    sampler_seed=-1,
    ban_eos_token=False,
    frequency_penalty=0.1,
    presence_penalty=0.2,
)
ORDER = Generation("P", 20, ("s1", "s2", "s3", "s4", "s5"), SAMPLING)


def said(value: Any, **more: str) -> Script:
    return answer(json.dumps(value).encode(), **more)


def listed(*ids: str, owner: str, **more: Any) -> Script:
    return said({"object": "list", "data": [{"id": one, "object": "model", "owned_by": owner, **more} for one in ids]})


def event(payload: Any) -> bytes:
    return f"data: {json.dumps(payload)}\n\n".encode()


def completion(text: str, reason: str | None, **more: Any) -> bytes:
    return event({"choices": [{"text": text, "index": 0, "finish_reason": reason, "logprobs": None}], **more})


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
VLLM_STREAM = chunked(
    completion("Hel", None), completion("lo", "stop"), event({"choices": [], "usage": USAGE}), b"data: [DONE]\n\n"
)
TGI_STREAM = chunked(completion("Hel", ""), completion("lo", "eos_token", usage=USAGE), b"data: [DONE]\n\n")
TGI_INFO = {
    "model_id": MODEL,
    "max_concurrent_requests": 128,
    "max_stop_sequences": 4,
    "max_input_tokens": 4095,
    "max_total_tokens": 4096,
    "router": "text-generation-router",
    "version": "3.3.6",
}
OLLAMA_SHOW = {"model_info": {"general.architecture": "llama", "llama.context_length": 131072}}


def line(**fields: Any) -> bytes:
    return json.dumps({"model": "llama3.1:latest", "created_at": "2025-10-26T17:15:24Z", **fields}).encode() + b"\n"


LAST = {"done_reason": "stop", "total_duration": 1, "prompt_eval_count": 3, "eval_count": 2}
OLLAMA_STREAM = chunked(
    line(response="Hel", done=False), line(response="lo", done=False), line(response="", done=True, **LAST)
)


def vllm(**more: Script) -> RawServer:
    scripts = {"/v1/models": listed(MODEL, owner="vllm", max_model_len=8192), "/v1/completions": VLLM_STREAM}
    return RawServer({**scripts, "/tokenize": said({"count": 7, "max_model_len": 8192, "tokens": [1] * 7}), **more})


def tgi(**more: Script) -> RawServer:
    scripts = {"/v1/models": listed(MODEL, owner=MODEL), "/info": said(TGI_INFO), "/v1/completions": TGI_STREAM}
    tokens = [{"id": 1, "text": "a", "start": 0, "stop": 1}, {"id": 2, "text": "b", "start": 1, "stop": 2}]
    return RawServer({**scripts, "/tokenize": said(tokens), **more})


def ollama(**more: Script) -> RawServer:
    scripts = {
        "/v1/models": listed("llama3.1:latest", "qwen3:8b", owner="library"),
        "/api/version": said({"version": "0.12.6"}),
        "/api/show": said(OLLAMA_SHOW),
        "/api/generate": OLLAMA_STREAM,
    }
    return RawServer({**scripts, **more})


def at(server: RawServer, model: str = MODEL, **more: Any) -> OpenAiEngine:
    return OpenAiEngine(server.url, model=model, first_token_s=5, idle_s=5, **more)


def text_of(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


# --- vLLM ---


def test_vllm_gets_its_own_names_and_every_stop() -> None:
    with vllm() as server:
        events = list(at(server).generate(ORDER))
        (body,) = server.bodies("/v1/completions")
    assert text_of(events) == "Hello"
    assert events[-1] == Finish("stop", 3, 2)
    assert body == {
        "model": MODEL,
        "prompt": "P",
        "max_tokens": 20,
        "stop": ["s1", "s2", "s3", "s4", "s5"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 1.0,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "ignore_eos": False,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
    }


def test_vllm_counts_tokens_and_tells_its_context() -> None:
    with vllm() as server:
        engine = at(server)
        assert engine.count_tokens("some words") == 7
        assert engine.context_size() == 8192
        assert server.bodies("/tokenize") == [{"model": MODEL, "prompt": "some words", "add_special_tokens": True}]


def test_of_several_models_ours_tells_the_context() -> None:
    """An adapter beside its base model may have another length."""
    models = [{"id": "base", "owned_by": "vllm", "max_model_len": 8192}, {"id": MODEL, "owned_by": "vllm"}]
    models[1]["max_model_len"] = 2048
    with vllm(**{"/v1/models": said({"data": models})}) as server:
        assert at(server).context_size() == 2048


def test_behind_a_gateway_without_the_tokenizers_route_tokens_are_estimated_and_it_is_asked_once() -> None:
    with vllm(**{"/tokenize": said({"detail": "Not Found"}, status="404 Not Found")}) as server:
        engine = at(server)
        assert [engine.count_tokens("four words of English") for _ in range(3)] == [11, 11, 11]
        assert len(server.bodies("/tokenize")) == 1


@pytest.mark.parametrize(
    ("server", "path", "refusal"),
    [
        (vllm, "/v1/completions", {"message": "This model's maximum context length is 8192 tokens.", "code": 400}),
        (tgi, "/v1/completions", {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 9"}),
        (ollama, "/api/generate", {"error": "the input length exceeds the context length"}),
    ],
)
def test_too_long_a_prompt_is_known_by_each_ones_words(server: Any, path: str, refusal: Any) -> None:
    with server(**{path: said(refusal, status="400 Bad Request")}) as double, pytest.raises(ContextTooLong):
        list(at(double).generate(ORDER))


# --- text-generation-inference ---


def test_tgi_gets_only_what_it_takes() -> None:
    """top_p=1 it would refuse; five stops too."""
    with tgi() as server:
        events = list(at(server).generate(ORDER))
        (body,) = server.bodies("/v1/completions")
    assert text_of(events) == "Hello"
    assert events[-1] == Finish("stop", 3, 2)
    assert body == {
        "model": MODEL,
        "prompt": "P",
        "max_tokens": 20,
        "stop": ["s1", "s2", "s3", "s4"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.1,
    }


def test_tgi_counts_tokens_and_tells_its_context() -> None:
    with tgi() as server:
        engine = at(server)
        assert engine.count_tokens("ab") == 2
        assert engine.context_size() == 4096
        assert engine.model() == MODEL
        assert server.bodies("/tokenize") == [{"inputs": "ab"}]


def test_tgis_empty_reason_is_no_end() -> None:
    with (
        tgi(**{"/v1/completions": chunked(completion("Half", ""))}) as server,
        pytest.raises(EngineFailure, match="without an end"),
    ):
        list(at(server).generate(ORDER))


# --- Ollama ---


def test_ollama_is_given_a_raw_prompt_and_the_contexts_size() -> None:
    """Its completions route would write a template around ours, and cut at 4096 tokens without a word."""
    with ollama() as server:
        events = list(at(server, "llama3.1", context_size=16384).generate(ORDER))
        (body,) = server.bodies("/api/generate")
        assert server.bodies("/v1/completions") == []
    assert text_of(events) == "Hello"
    assert events[-1] == Finish("stop", 3, 2)
    options = body.pop("options")
    assert body == {
        "model": "llama3.1",
        "prompt": "P",
        "raw": True,
        "stream": True,
        "truncate": False,
        "shift": False,
    }
    assert options == {
        "num_ctx": 16384,
        "num_predict": 20,
        "stop": ["s1", "s2", "s3", "s4", "s5"],
        "temperature": 0.5,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.05,
        "repeat_penalty": 1.1,
        "repeat_last_n": 256,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": -1,
    }


@pytest.mark.parametrize(("wanted", "expected"), [(4096, 4096), (1 << 20, 131072)])
def test_ollamas_context_is_what_is_wished_as_far_as_the_model_goes(wanted: int, expected: int) -> None:
    with ollama() as server:
        assert at(server, "llama3.1", context_size=wanted).context_size() == expected


def test_ollamas_tokens_are_estimated() -> None:
    with ollama() as server:
        assert at(server, "llama3.1").count_tokens("four words of English") == 11


def test_a_character_cut_between_two_reads_of_ollamas_stays_whole() -> None:
    raw = line(response="Grüße", done=False).replace(b"\\u00fc", "ü".encode()) + line(response="", done=True, **LAST)
    cut = raw.index("ü".encode()) + 1
    with ollama(**{"/api/generate": chunked(raw[:cut], raw[cut:])}) as server:
        assert text_of(list(at(server, "llama3.1").generate(ORDER))) == "Grüße"


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (chunked(line(response="Half", done=False)), EngineFailure),
        (chunked(line(response="a", done=False), line(error="llama runner process has terminated")), EngineFailure),
        (chunked(b"{broken\n"), EngineFailure),
        (chunked(b"[1]\n"), EngineFailure),
        (chunked(line(response=7, done=False)), EngineFailure),
        (chunked(line(response="a", done=False), 9.0), EngineTimeout),
        (said({"error": "model 'llama3.1' not found"}, status="404 Not Found"), EngineFailure),
    ],
)
def test_a_stream_of_ollamas_that_goes_wrong_is_a_typed_error(stream: Script, error: type[Exception]) -> None:
    with ollama(**{"/api/generate": stream}) as server, pytest.raises(error):
        list(OpenAiEngine(server.url, model="llama3.1", first_token_s=1, idle_s=1).generate(ORDER))


# --- health ---


@pytest.mark.parametrize("model", ["llama3.1", "llama3.1:latest", "qwen3:8b"])
def test_ollama_has_a_model_by_its_name_with_or_without_latest(model: str) -> None:
    with ollama() as server:
        at(server, model).check()


@pytest.mark.parametrize("server", [vllm, ollama])
def test_a_model_that_the_server_does_not_have_is_named_before_anybody_asks(server: Any) -> None:
    with server() as double, pytest.raises(Unhealthy, match="no model of the name gpt-4"):
        at(double, "gpt-4").check()


def test_a_server_that_takes_any_name_is_well_whatever_it_lists() -> None:
    for server in (tgi(), RawServer({"/v1/models": listed("file.gguf", owner="llamacpp")})):
        with server as double:
            at(double, "any-name").check()


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_key_that_is_refused_is_said(status: str) -> None:
    with (
        RawServer({"/v1/models": said({"error": "Unauthorized"}, status=status)}) as server,
        pytest.raises(Unhealthy, match="refuses the key"),
    ):
        at(server).check()


def test_llama_cpp_tells_its_context_in_props_where_the_models_entry_does_not() -> None:
    props = said({"default_generation_settings": {"n_ctx": 3072}, "total_slots": 4})
    with RawServer({"/v1/models": listed("m", owner="llamacpp"), "/props": props}) as server:
        assert at(server).context_size() == 3072
