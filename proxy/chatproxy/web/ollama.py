"""Ollama's API: the bots and the engine's own model as models that are always loaded. Nothing is stored.

    POST /api/chat, /api/generate    JSON lines unless `stream` is false
    GET  /api/tags, /api/ps, /api/version
    POST /api/show

Fields and options: see ollama_order.py. Durations are nanoseconds of this server's clock; what it cannot know (loading,
reading the prompt, sizes of files) is left out instead of being made up.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.completions import Accepted, ChatOrder, Completions
from chatproxy.core.generation import Finished, GenerationEvent, Token
from chatproxy.core.ports import Bots
from chatproxy.errors import ChatProxyError
from chatproxy.web.auth import caller, needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.chat import CLIENT_CLOSED_REQUEST
from chatproxy.web.clients import watch
from chatproxy.web.ollama_order import Asked, Model, Models, read_chat, read_generate
from chatproxy.web.responses import Envelope, Failure, json_response
from chatproxy.web.sse import stream, to_the_end

# Ollama's API as of this version. Later ones add abilities that are refused here.
PROTOCOL_VERSION = "0.12.0"
_OURS = ("chat", "generate", "tags", "ps", "version", "show")
# Not offered. Their 404 is in this family's envelope, so that clients can read it.
_ABSENT = ("blobs/", "copy", "create", "delete", "embed", "embeddings", "pull", "push")
# Puts one piece of text into a response object: as `response` or as a `message`.
Shape = Callable[[str], dict[str, Any]]


def envelope(failure: Failure) -> tuple[Any, int]:
    """{"error": text}, Ollama's."""
    return {"error": failure.text}, failure.status


ENVELOPES: dict[str, Envelope] = {f"/api/{name}": envelope for name in (*_OURS, *_ABSENT)}


def blueprint(completions: Completions, bots: Bots, *, model: str, context_size: Callable[[], int]) -> Blueprint:
    """The routes. `model` is the engine's own, `context_size` in tokens."""
    routes = Blueprint("ollama", __name__)
    models = Models(model, bots)

    @routes.post("/api/chat")
    @needs("chat")
    def chat() -> Response:
        asked = read_chat(read_object(request), models, caller(), context_size)
        return _respond(completions, asked, lambda text: {"message": {"role": "assistant", "content": text}})

    @routes.post("/api/generate")
    @needs("chat")
    def generate() -> Response:
        asked = read_generate(read_object(request), models, caller(), context_size)
        return _respond(completions, asked, lambda text: {"response": text})

    @routes.get("/api/tags")
    @needs("chat")
    def tags() -> Response:
        return json_response({"models": [_listed(each, model, bots) for each in models.all()]})

    @routes.get("/api/ps")
    @needs("chat")
    def running() -> Response:
        loaded = _listed(Model(model, None), model, bots)
        return json_response({"models": [{**loaded, "context_length": context_size()}]})

    @routes.post("/api/show")
    @needs("chat")
    def show() -> Response:
        _, named = models.named(Fields(read_object(request)))
        # Clients look the context up under the architecture's name, whatever that is.
        info = {"general.architecture": "unknown", "general.basename": named.name}
        return json_response(
            {
                "details": _details(named, model),
                "model_info": {**info, "unknown.context_length": context_size()},
                "capabilities": ["completion"],
            }
        )

    @routes.get("/api/version")
    @needs("chat")
    def version() -> Response:
        return json_response({"version": PROTOCOL_VERSION})

    return routes


def _respond(completions: Completions, asked: Asked, shape: Shape) -> Response:
    if asked.order is None:
        reason = "unload" if asked.unload else "load"
        return json_response({**_head(asked), **shape(""), "done": True, "done_reason": reason})
    order = asked.order
    begun = time.monotonic_ns()
    answer = _Answer(asked, shape, begun)
    events = completions.chat(order) if isinstance(order, ChatOrder) else completions.text(order)
    answer.note(next(events))  # Accepted: up to here an error has its own HTTP status
    gone = watch(request.environ)
    if asked.stream:
        return stream(events, answer.write, _failed, gone, content_type="application/x-ndjson", comments=False)
    finished = to_the_end(_noted(events, answer), gone)
    if not isinstance(finished, Finished):
        return json_response({}, CLIENT_CLOSED_REQUEST)
    return json_response(answer.whole(finished))


def _noted(events: Generator[Accepted | GenerationEvent], answer: _Answer) -> Generator[Accepted | GenerationEvent]:
    with closing(events):
        for event in events:
            answer.note(event)
            yield event


class _Answer:
    """One answer as it comes, and its figures."""

    def __init__(self, asked: Asked, shape: Shape, begun_ns: int) -> None:
        self._asked, self._shape, self._begun = asked, shape, begun_ns
        self._first = self._last = 0
        self._parts: list[str] = []
        self._truncated = False

    def note(self, event: Accepted | GenerationEvent) -> None:
        """Keep what the last object tells."""
        if isinstance(event, Accepted):
            self._truncated = event.context_truncated
        elif isinstance(event, Token):
            self._last = time.monotonic_ns()
            self._first = self._first or self._last
            self._parts.append(event.text)

    def write(self, event: Accepted | GenerationEvent) -> bytes:
        """One line of a stream, or b""."""
        self.note(event)
        match event:
            case Token():
                return _line({**_head(self._asked), **self._shape(event.text), "done": False})
            case Finished():
                return _line(self._end(event, ""))
            case _:
                return b""

    def whole(self, finished: Finished) -> dict[str, Any]:
        """The one object of an answer that is not streamed."""
        return self._end(finished, "".join(self._parts))

    def _end(self, finished: Finished, text: str) -> dict[str, Any]:
        figures = {
            "total_duration": time.monotonic_ns() - self._begun,
            "prompt_eval_count": finished.usage.prompt_tokens,
            "eval_count": finished.usage.completion_tokens,
            # From the first token to the last: none for a single token, which is nothing to divide by.
            "eval_duration": (self._last - self._first) or None,
            # Not Ollama's: it would cut the conversation without a word.
            "context_truncated": self._truncated or None,
        }
        known = {name: value for name, value in figures.items() if value is not None}
        reason = "length" if finished.reason == "length" else "stop"
        return {**_head(self._asked), **self._shape(text), "done": True, "done_reason": reason, **known}


def _head(asked: Asked) -> dict[str, Any]:
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"model": asked.name, "created_at": moment}


def _failed(error: ChatProxyError) -> bytes:
    return _line({"error": error.public})


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace") + b"\n"


def _listed(named: Model, engine_model: str, bots: Bots) -> dict[str, Any]:
    """An entry of /api/tags. The digest changes with the bot's definition, as a model's would; sizes are not known."""
    definition = repr(bots.get(named.bot)) if named.bot else ""
    tagged = f"{named.name}:latest"
    return {
        "name": tagged,
        "model": tagged,
        "digest": hashlib.sha256(f"{engine_model}\n{definition}".encode()).hexdigest(),
        "details": _details(named, engine_model),
    }


def _details(named: Model, engine_model: str) -> dict[str, Any]:
    """Ollama's fields; empty is what this server does not know of the engine's file."""
    parent = engine_model if named.bot else ""
    unknown = {"format": "", "family": "", "families": [], "parameter_size": "", "quantization_level": ""}
    return {"parent_model": parent, **unknown}
