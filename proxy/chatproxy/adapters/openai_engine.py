"""Engines that speak OpenAI's completions API: llama.cpp's server first of all, and others.

What llama.cpp's server offers beyond that API (tokenizer, context size, all samplers) is used only when the server
says that it is one. Others get what OpenAI's API knows, and their tokens are estimated.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.adapters.engine_stream import EngineRefused, decode, generated
from chatproxy.adapters.remembered import Remembered
from chatproxy.core.types import EngineEvent, Finish, Generation, Sampling
from chatproxy.errors import ContextTooLong, EngineFailure, InvalidRequest, Unhealthy

_CALL_TIMEOUT_S = 10.0
_CHECK_TIMEOUT_S = 2.0
# How long what the engine says about itself is believed: it may have been restarted with another model.
_FACTS_LAST_S = 60.0
# Estimate without a tokenizer. English takes 4 bytes a token, Chinese 2, dense code 2.5: two never promise too much.
_BYTES_PER_TOKEN = 2

# Ours -> theirs. top_a, tfs, rep_pen_slope and sampler_order have no counterpart in today's llama.cpp: left out.
_LLAMA_CPP = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "typical": "typical_p",
    "rep_pen": "repeat_penalty",
    "rep_pen_range": "repeat_last_n",
    "sampler_seed": "seed",
    "ban_eos_token": "ignore_eos",
    "grammar": "grammar",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_OPENAI = {
    "temperature": "temperature",
    "top_p": "top_p",
    "sampler_seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
# Word after each batch of a prompt that is being read. llama.cpp notices that a client has left only when it writes to
# it: without this, a prompt would be read to its end for nobody.
_LLAMA_CPP_ALWAYS = {"return_progress": True}
# OpenAI's API takes no more stop strings than this; the rest is caught by our own filter.
_OPENAI_STOPS = 4


@dataclass(frozen=True, slots=True)
class _Facts:
    llama_cpp: bool
    context_size: int | None
    model: str


class _End:
    """What a stream says of its own end, on the way there."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._usage: dict[str, Any] = {}

    def read(self, data: str) -> tuple[str, bool]:
        """See engine_stream.generated."""
        if data.strip() == "[DONE]":
            return "", True
        event = decode(data)
        if "prompt_progress" in event:
            return "", False
        text, self._reason = _read(event, self._reason)
        if isinstance(event.get("usage"), dict):
            self._usage = event["usage"]
        return text, False

    def finish(self) -> Finish:
        if self._reason is None:
            raise EngineFailure("the engine closed the stream without an end")
        return Finish(
            "length" if self._reason == "length" else "stop",
            _whole(self._usage, "prompt_tokens"),
            _whole(self._usage, "completion_tokens"),
        )


class OpenAiEngine:
    """Implements core.ports.Engine and HealthCheck."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        name: str = "engine",
        api_key: str = "",
        first_token_s: float = 600,
        idle_s: float = 120,
    ) -> None:
        """`url` with or without a final /v1; `name` is what /readyz calls it.

        Times: seconds of silence that are endured before and after the first token.
        """
        self.name = name
        self._service = Service(url.rstrip("/").removesuffix("/v1"), token=api_key)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._model = model
        self._first_token_s, self._idle_s = first_token_s, idle_s
        self._facts = Remembered(self._read_facts, lasts_s=_FACTS_LAST_S)

    def generate(self, generation: Generation) -> Generator[EngineEvent]:
        """See core.ports.Engine. Closing the connection stops this kind of engine."""
        url = f"{self._service.base_url}/v1/completions"
        payload = self._payload(generation, llama_cpp=self._facts.get().llama_cpp)
        end = _End()
        try:
            yield from generated(
                url, payload, self._headers, end.read, first_s=self._first_token_s, idle_s=self._idle_s
            )
        except EngineRefused as refusal:
            if b"exceed_context_size" in refusal.body or b"context_length_exceeded" in refusal.body:
                raise ContextTooLong(str(refusal)) from None
            # All else in an order is range-checked; a grammar is a language of its own.
            if refusal.engine_status == 400 and generation.sampling.grammar:
                raise InvalidRequest("grammar: the engine cannot read it") from None
            raise
        yield end.finish()

    def count_tokens(self, text: str) -> int:
        """See core.ports.Engine. Without a tokenizer: a careful estimate of one token for every two bytes."""
        if not self._facts.get().llama_cpp:
            return -(-len(text.encode()) // _BYTES_PER_TOKEN)
        try:
            answer = self._service.post(
                "/tokenize", {"content": text, "add_special": True, "parse_special": True}, timeout_s=_CALL_TIMEOUT_S
            )
        except CallFailed as error:
            raise EngineFailure(f"/tokenize: {error}") from None
        tokens = answer.get("tokens") if isinstance(answer, dict) else None
        if not isinstance(tokens, list):
            raise EngineFailure("/tokenize: no list of tokens")
        return len(tokens)

    def context_size(self) -> int | None:
        """See core.ports.Engine."""
        return self._facts.get().context_size

    def model(self) -> str:
        """See core.ports.Engine."""
        return self._facts.get().model

    def check(self) -> None:
        """See core.ports.HealthCheck."""
        try:
            models = self._service.get("/v1/models", timeout_s=_CHECK_TIMEOUT_S)
        except CallFailed as error:
            raise Unhealthy("the model is still loading" if str(error) == "HTTP 503" else str(error)) from None
        if not isinstance(models, dict) or not isinstance(models.get("data"), list):
            raise Unhealthy("it does not talk like an OpenAI server")

    def _read_facts(self) -> _Facts:
        try:
            return _facts(self._service.get("/v1/models", timeout_s=_CALL_TIMEOUT_S))
        except CallFailed as error:
            raise EngineFailure(f"/v1/models: {error}") from None

    def _payload(self, generation: Generation, *, llama_cpp: bool) -> dict[str, Any]:
        names = _LLAMA_CPP if llama_cpp else _OPENAI
        stops = list(generation.stops)
        return {
            **_samplers(generation.sampling, names),
            "model": self._model,
            "prompt": generation.prompt,
            "max_tokens": generation.max_tokens,
            "stop": stops if llama_cpp else stops[:_OPENAI_STOPS],
            "stream": True,
            "stream_options": {"include_usage": True},
            **(_LLAMA_CPP_ALWAYS if llama_cpp else {}),
        }


def _samplers(sampling: Sampling, names: dict[str, str]) -> dict[str, Any]:
    asked = ((theirs, getattr(sampling, ours)) for ours, theirs in names.items())
    return {theirs: value for theirs, value in asked if value is not None}


def _facts(models: Any) -> _Facts:
    """llama.cpp's server owns its models as "llamacpp" and tells a slot's context size as meta.n_ctx."""
    data = models.get("data") if isinstance(models, dict) else None
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    meta = first.get("meta") if isinstance(first.get("meta"), dict) else {}
    llama_cpp = first.get("owned_by") == "llamacpp"
    return _Facts(llama_cpp, _whole(meta, "n_ctx") if llama_cpp else None, str(first.get("id")))


def _read(event: dict[str, Any], reason: str | None) -> tuple[str, str | None]:
    """Text and finish reason of one event; the reason stays once it has been said (usage comes after it)."""
    if "error" in event:
        raise EngineFailure(f"the engine reported {str(event['error'])[:300]!r} in mid-stream")
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(choice, dict) or not isinstance(choice.get("text", ""), str):
        raise EngineFailure("the engine sent an event that is not a completion")
    said = choice.get("finish_reason")
    return choice.get("text", ""), said if isinstance(said, str) else reason


def _whole(fields: Any, name: str) -> int | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
