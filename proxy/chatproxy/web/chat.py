"""The native API: POST /api/v1/chat and what can be done with an answer while it is made and after.

A stream's `token` events carry ids: how many characters of the answer have been sent up to and with the event. A
client that lost its connection sends the last one back (Last-Event-ID) and gets exactly what follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.answer import AnswerEvent, Answers, Done, Replaced, Sources, Started
from chatproxy.core.asking import Question
from chatproxy.core.generation import Queued, Token
from chatproxy.core.types import Source, Usage
from chatproxy.errors import ChatProxyError, InvalidRequest
from chatproxy.web import ids, query
from chatproxy.web.auth import needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.clients import watch
from chatproxy.web.images import read_images
from chatproxy.web.markdown import to_html
from chatproxy.web.responses import error_response, json_response
from chatproxy.web.sse import encode, named_error, stream, to_the_end

_FIELDS = ("message", "conversation_id", "bot", "stream", "edit", "images")
_LONGEST_MESSAGE = 200_000  # characters; far beyond any context window, short enough to count its tokens at once
CLIENT_CLOSED_REQUEST = 499  # nginx's status for the log; nobody is there to read it


def blueprint(answers: Answers) -> Blueprint:
    """The routes, answering through `answers`."""
    routes = Blueprint("chat", __name__)

    @routes.post("/api/v1/chat")
    @needs("chat", "visitor")
    def chat() -> Response:
        query.check_known("user_id")
        question, streamed = _read_question()
        return respond(answers.reply(question), streamed=streamed)

    @routes.post("/api/v1/messages/<message_id>/regenerate")
    @needs("chat", "visitor")
    def regenerate(message_id: str) -> Response:
        query.check_known("user_id")
        fields = Fields(read_object(request, known=("stream",), may_be_empty=True))
        question = Question(query.asker(), "", instead_of=ids.message_id(message_id), key=_idempotency_key())
        return respond(answers.reply(question), streamed=fields.flag("stream") or False)

    @routes.get("/api/v1/chat/<message_id>/stream")
    @needs("chat", "visitor")
    def resume(message_id: str) -> Response:
        query.check_known("user_id")
        after = _last_event_id()
        return respond(answers.resume(query.asker(), ids.message_id(message_id), after), streamed=True, after=after)

    @routes.post("/api/v1/chat/<message_id>/cancel")
    @needs("chat", "visitor")
    def cancel(message_id: str) -> Response:
        query.check_known("user_id")
        return json_response({"cancelled": answers.cancel(query.asker(), ids.message_id(message_id))})

    return routes


def respond(events: Generator[AnswerEvent], *, streamed: bool, after: int = 0) -> Response:
    """An answer as events or as one JSON object; `after` is how many characters of it the client has already."""
    # Up to here an error has its own HTTP status; once a stream has begun it is an event.
    started = next(events)
    gone = watch(request.environ)
    if streamed:
        response = stream(events, _writer(after), named_error, gone)
    else:
        try:
            done = to_the_end(events, gone)
        except ChatProxyError as error:
            response = error_response(error)
        else:
            payload = answer_of(done) if isinstance(done, Done) else {}
            response = json_response(payload, 200 if payload else CLIENT_CLOSED_REQUEST)
    if isinstance(started, Started):
        # On errors too: the question is stored, and its answer can be resumed.
        response.headers["X-Conversation-Id"] = started.conversation_id
        response.headers["X-Message-Id"] = started.message_id
    return response


def _read_question() -> tuple[Question, bool]:
    body = read_object(request, known=_FIELDS)
    fields = Fields(body)
    message = fields.text("message", most=_LONGEST_MESSAGE)
    if message is None or not message.strip():
        raise InvalidRequest("message: is missing or empty")
    question = Question(
        query.asker(),
        message,
        conversation_id=fields.pattern("conversation_id", ids.ID, "the id of a conversation"),
        bot=fields.pattern("bot", r"[a-z0-9][a-z0-9_-]{0,63}", "the name of a bot"),
        instead_of=fields.pattern("edit", ids.ID, "the id of the question that this one replaces"),
        key=_idempotency_key(),
        images=read_images(body.get("images"), "images"),
    )
    return question, fields.flag("stream") or False


def _idempotency_key() -> str | None:
    """What a client repeats with a request of which it does not know whether it arrived (IETF httpapi, RFC draft
    "The Idempotency-Key HTTP Header Field")."""
    raw = request.headers.get("Idempotency-Key")
    if raw is not None and not re.fullmatch(r"[!-~]{1,100}", raw):
        raise InvalidRequest("Idempotency-Key: must be 1 to 100 visible ASCII characters")
    return raw


def _last_event_id() -> int:
    raw = request.headers.get("Last-Event-ID", "0")
    if not re.fullmatch(r"[0-9]{1,9}", raw):
        raise InvalidRequest("Last-Event-ID: must be the id of a token event")
    return int(raw)


def _writer(after: int) -> Callable[[AnswerEvent], bytes]:
    sent = after

    def write(event: AnswerEvent) -> bytes:
        nonlocal sent
        match event:
            case Token():
                sent += len(event.text)
                return encode("token", {"text": event.text}, sent)
            case Queued():
                return encode("queued", {"position": event.position, "eta_s": event.eta_s})
            case Sources():
                return encode("sources", {"sources": [source(item) for item in event.sources]})
            case Replaced():
                sent = len(event.text)
                return encode("replace", {"text": event.text}, sent)
            case Done():
                return encode("done", answer_of(event))
            case _:
                return b""

    return write


def answer_of(done: Done) -> dict[str, Any]:
    """The JSON of a finished answer."""
    return {
        "conversation_id": done.conversation_id,
        "message_id": done.message_id,
        "answer": done.answer,
        "answer_html": to_html(done.answer),
        "sources": [source(item) for item in done.sources],
        "finish_reason": done.finish_reason,
        "usage": usage(done.usage),
        "context_truncated": done.context_truncated,
    }


def source(told: Source) -> dict[str, Any]:
    """One of the passages that an answer rests on."""
    return {"n": told.n, "title": told.title, "url": told.url, "snippet": told.snippet}


def usage(used: Usage) -> dict[str, int | None]:
    """Token counts under the names that clients know from OpenAI's API."""
    both = (used.prompt_tokens, used.completion_tokens)
    total = None if None in both else sum(count or 0 for count in both)
    return {"prompt_tokens": both[0], "completion_tokens": both[1], "total_tokens": total}
