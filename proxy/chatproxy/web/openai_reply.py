"""Completions as OpenAI's API tells them: one object, or a stream of `data:` lines that ends with [DONE]."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from flask import Response, request

from chatproxy.core.completions import Accepted
from chatproxy.core.generation import Finished, GenerationEvent, Token
from chatproxy.core.types import Usage, new_id
from chatproxy.errors import ChatProxyError
from chatproxy.web.chat import CLIENT_CLOSED_REQUEST, usage
from chatproxy.web.clients import watch
from chatproxy.web.openai_errors import envelope
from chatproxy.web.openai_fields import Streaming
from chatproxy.web.responses import Failure, json_response
from chatproxy.web.sse import stream, to_the_end

Events = Generator[Accepted | GenerationEvent]
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Form:
    """What differs between the two routes: names, and what stands in a choice beside its index and finish reason."""

    id_prefix: str
    whole_object: str
    chunk_object: str
    whole: Callable[[str], dict[str, Any]]
    first: dict[str, Any] | None
    piece: Callable[[str], dict[str, Any]]
    last: dict[str, Any]


CHAT = Form(
    "chatcmpl-",
    "chat.completion",
    "chat.completion.chunk",
    whole=lambda text: {"message": {"role": "assistant", "content": text, "refusal": None}},
    first={"delta": {"role": "assistant", "content": ""}},
    piece=lambda text: {"delta": {"content": text}},
    last={"delta": {}},
)
TEXT = Form(
    "cmpl-",
    "text_completion",
    "text_completion",
    whole=lambda text: {"text": text},
    first=None,
    piece=lambda text: {"text": text},
    last={"text": ""},
)


def respond(events: Events, form: Form, model: str, streaming: Streaming) -> Response:
    """The answer to a request. Until it is accepted, an error has its own HTTP status."""
    accepted = next(events)
    gone = watch(request.environ)
    if streaming.wanted:
        writer = _Writer(form, model, include_usage=streaming.include_usage)
        response = stream(events, writer, _failed, gone)
    else:
        response = _whole(events, form, model, gone)
    if isinstance(accepted, Accepted) and accepted.context_truncated:
        # OpenAI's API has no place for it; who keeps long conversations wants to know all the same.
        response.headers["X-Context-Truncated"] = "true"
    return response


def _whole(events: Events, form: Form, model: str, gone: Callable[[], bool]) -> Response:
    parts: list[str] = []
    finished = to_the_end(_collected(events, parts), gone)
    if not isinstance(finished, Finished):
        return json_response({}, CLIENT_CLOSED_REQUEST)
    choice = _choice(form.whole("".join(parts)), _reason(finished))
    head = _head(form.id_prefix + new_id(), form.whole_object, model, int(time.time()))
    return json_response({**head, "choices": [choice], "usage": _counts(finished.usage)})


def _collected(events: Events, parts: list[str]) -> Events:
    try:
        for event in events:
            if isinstance(event, Token):
                parts.append(event.text)
            yield event
    finally:
        events.close()


@dataclass
class _Writer:
    """Writes one stream. Chat begins with the role; with `include_usage` every chunk but the last says usage: null."""

    form: Form
    model: str
    include_usage: bool
    id: str = field(default_factory=new_id)
    created: int = field(default_factory=lambda: int(time.time()))
    begun: bool = False

    def __call__(self, event: Accepted | GenerationEvent) -> bytes:
        if isinstance(event, Token):
            return self._first() + self._chunk([_choice(self.form.piece(event.text), None)])
        if isinstance(event, Finished):
            end = self._first() + self._chunk([_choice(self.form.last, _reason(event))])
            counts = self._chunk([], _counts(event.usage)) if self.include_usage else b""
            return end + counts + _DONE
        return b""

    def _first(self) -> bytes:
        if self.begun or self.form.first is None:
            return b""
        self.begun = True
        return self._chunk([_choice(self.form.first, None)])

    def _chunk(self, choices: list[dict[str, Any]], counts: dict[str, int | None] | None = None) -> bytes:
        head = _head(self.form.id_prefix + self.id, self.form.chunk_object, self.model, self.created)
        told = {"usage": counts} if self.include_usage else {}
        return _data({**head, "choices": choices, **told})


def _failed(error: ChatProxyError) -> bytes:
    return _data(envelope(Failure.of(error))[0]) + _DONE


def _data(payload: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(payload, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def _head(reply_id: str, kind: str, model: str, created: int) -> dict[str, Any]:
    return {"id": reply_id, "object": kind, "created": created, "model": model}


def _choice(said: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, **said, "logprobs": None, "finish_reason": reason}


def _reason(finished: Finished) -> str:
    return "length" if finished.reason == "length" else "stop"


def _counts(used: Usage) -> dict[str, int | None] | None:
    """Clients add these up as whole numbers: where the engine could not tell one, there is none."""
    counts = usage(used)
    return None if counts["total_tokens"] is None else counts
