"""Engines that speak OpenAI's completions API: llama.cpp's server first of all, and others.

What a server offers beyond that API (tokenizer, context size, more samplers) is used only when it says which kind it
is: see openai_kinds.py. Others get what OpenAI's API knows, and their tokens are estimated.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from chatproxy.adapters import openai_kinds
from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.adapters.engine_stream import EngineRefused, decode, generated
from chatproxy.adapters.llama_cpp_images import PATH, UNREADABLE, LlamaCppImages, PicturedEnd
from chatproxy.adapters.ollama_stream import LineParser, OllamaEnd
from chatproxy.adapters.openai_kinds import OLLAMA, Facts, whole
from chatproxy.adapters.remembered import Remembered
from chatproxy.adapters.sse import EventParser
from chatproxy.core.types import EngineEvent, Finish, Generation, Image
from chatproxy.core.warm_ports import CacheState
from chatproxy.errors import ContextTooLong, EngineFailure, InvalidRequest, Unhealthy

_CALL_TIMEOUT_S = 10.0
_CHECK_TIMEOUT_S = 2.0
# How long what the engine says about itself is believed: it may have been restarted with another model.
_FACTS_LAST_S = 60.0
# What an answer to the health check means.
_SAID = {"HTTP 503": "the model is still loading", "HTTP 401": "it refuses the key", "HTTP 403": "it refuses the key"}
# Estimate without a tokenizer. English takes 4 bytes a token, Chinese 2, dense code 2.5: two never promise too much.
_BYTES_PER_TOKEN = 2


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
            whole(self._usage, "prompt_tokens"),
            whole(self._usage, "completion_tokens"),
        )


class OpenAiEngine:
    """Implements core.ports.Engine and HealthCheck, core.warm_ports.Warmable."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        name: str = "engine",
        api_key: str = "",
        first_token_s: float = 600,
        idle_s: float = 120,
        image_tokens: int | None = None,
        context_size: int = 4096,
    ) -> None:
        """`url` with or without a final /v1; `model` as the server calls it; `name` is what /readyz calls the engine.

        `image_tokens`: what one image takes at most, where that is known.

        `context_size`: what is asked for where that comes with the order, in tokens of one conversation.
        Times: seconds of silence that are endured before and after the first token.
        """
        self.name = name
        self._service = Service(url.rstrip("/").removesuffix("/v1"), token=api_key)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._model = model
        self._first_token_s, self._idle_s = first_token_s, idle_s
        self._context_size = context_size
        self._facts = Remembered(self._read_facts, lasts_s=_FACTS_LAST_S)
        self._images = LlamaCppImages(self._service, lasts_s=_FACTS_LAST_S, tokens=image_tokens)
        # A gateway may let OpenAI's routes through and no others.
        self._tokenizes = True

    def generate(self, generation: Generation) -> Generator[EngineEvent]:
        """See core.ports.Engine. Closing the connection stops this kind of engine."""
        facts = self._facts.get()
        url = f"{self._service.base_url}{facts.kind.path}"
        payload = openai_kinds.payload(facts, generation, self._model)
        end: _End | OllamaEnd | PicturedEnd = OllamaEnd() if facts.kind is OLLAMA else _End()
        if generation.images:
            url, end = f"{self._service.base_url}{PATH}", PicturedEnd()
            payload |= self._images.payload(generation)
        parser = LineParser() if facts.kind is OLLAMA else EventParser()
        first, idle = self._first_token_s, self._idle_s
        try:
            yield from generated(url, payload, self._headers, end.read, first_s=first, idle_s=idle, parser=parser)
        except EngineRefused as refusal:
            if any(words in refusal.body for words in openai_kinds.TOO_LONG):
                raise ContextTooLong(str(refusal)) from None
            if UNREADABLE in refusal.body:
                raise InvalidRequest("images: the model's decoder cannot read one of them") from None
            # All else in an order is range-checked; a grammar is a language of its own.
            if refusal.engine_status == 400 and generation.sampling.grammar:
                raise InvalidRequest("grammar: the engine cannot read it") from None
            raise
        finish = end.finish()
        if generation.images:
            self._images.learn(generation, finish, self.count_tokens)
        yield finish

    def count_tokens(self, text: str) -> int:
        """See core.ports.Engine. Without a tokenizer: a careful estimate of one token for every two bytes."""
        kind = self._facts.get().kind
        estimate = -(-len(text.encode()) // _BYTES_PER_TOKEN)
        if kind.tokenize is None or not self._tokenizes:
            return estimate
        path, body = kind.tokenize(text, self._model)
        try:
            tokens = kind.count(self._service.post(path, body, timeout_s=_CALL_TIMEOUT_S))
        except CallFailed as error:
            if str(error) in ("HTTP 404", "HTTP 405"):
                self._tokenizes = False
                return estimate
            raise EngineFailure(f"{path}: {error}") from None
        if tokens is None:
            raise EngineFailure(f"{path}: no tokens in the answer")
        return tokens

    def context_size(self) -> int | None:
        """See core.ports.Engine."""
        return self._facts.get().context_size

    def model(self) -> str:
        """See core.ports.Engine."""
        return self._facts.get().model

    def most_images(self) -> int:
        """See core.ports.Engine. None but llama.cpp's server takes images with a completion."""
        return self._images.most() if self._facts.get().llama_cpp else 0

    def image_tokens(self, image: Image) -> int:
        """See core.ports.Engine."""
        return self._images.tokens(image)

    def check(self) -> None:
        """See core.ports.HealthCheck."""
        try:
            models = self._service.get("/v1/models", timeout_s=_CHECK_TIMEOUT_S)
            openai_kinds.try_key(self._service, models, timeout_s=_CHECK_TIMEOUT_S)
        except CallFailed as error:
            raise Unhealthy(_SAID.get(str(error), str(error))) from None
        if not isinstance(models, dict) or not isinstance(models.get("data"), list):
            raise Unhealthy("it does not talk like an OpenAI server")
        if openai_kinds.refuses_model(models, self._model):
            raise Unhealthy(f"it has no model of the name {self._model}")

    def cache(self) -> CacheState | None:
        """See core.warm_ports.Warmable. llama.cpp numbers what it does, and tells each slot's last number."""
        try:
            slots = self._service.get("/slots", timeout_s=_CALL_TIMEOUT_S) if self._facts.get().llama_cpp else None
        except (CallFailed, EngineFailure):
            return None
        if not isinstance(slots, list) or not all(isinstance(slot, dict) for slot in slots):
            return None
        done = max((last + 1 for slot in slots if (last := whole(slot, "id_task")) is not None), default=0)
        unused = (whole(slot, "id") for slot in slots if whole(slot, "id_task") is None)
        return CacheState(done, tuple(number for number in unused if number is not None))

    def _read_facts(self) -> Facts:
        try:
            return openai_kinds.look(self._service, self._model, self._context_size)
        except CallFailed as error:
            raise EngineFailure(f"/v1/models: {error}") from None


def _read(event: dict[str, Any], reason: str | None) -> tuple[str, str | None]:
    """Text and finish reason of one event; the reason stays once it has been said (usage comes after it)."""
    if event.get("error") is not None:
        raise EngineFailure(f"the engine reported {str(event['error'])[:300]!r} in mid-stream")
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(choice, dict) or not isinstance(choice.get("text", ""), str):
        raise EngineFailure("the engine sent an event that is not a completion")
    said = choice.get("finish_reason")
    # text-generation-inference says "" until the end.
    return choice.get("text", ""), said if isinstance(said, str) and said else reason
