"""The native API: POST /api/v1/chat, as JSON or as a stream of events."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.answer import AnswerEvent, Answers, Done, Question, Started
from chatproxy.core.generation import Queued, Token
from chatproxy.core.types import Usage
from chatproxy.errors import InvalidRequest
from chatproxy.web.auth import caller, needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.clients import watch
from chatproxy.web.markdown import to_html
from chatproxy.web.responses import json_response
from chatproxy.web.sse import Frame, event_stream, to_the_end

_FIELDS = ("message", "conversation_id", "bot", "stream")
_LONGEST_MESSAGE = 200_000  # characters; far beyond any context window, short enough to count its tokens at once
CLIENT_CLOSED_REQUEST = 499  # nginx's status for the log; nobody is there to read it


def blueprint(answers: Answers) -> Blueprint:
    """The routes, answering through `answers`."""
    routes = Blueprint("chat", __name__)

    @routes.post("/api/v1/chat")
    @needs("chat")
    def chat() -> Response:
        question, streamed = _read_question()
        return respond(answers.reply(question), streamed=streamed)

    return routes


def respond(events: Generator[AnswerEvent], *, streamed: bool) -> Response:
    """An answer as events or as one JSON object."""
    # Up to here an error has its own HTTP status; once a stream has begun it is an event.
    started = next(events)
    gone = watch(request.environ)
    if streamed:
        response = event_stream(events, _frame, gone)
    else:
        done = to_the_end(events, gone)
        payload = answer_of(done) if isinstance(done, Done) else {}
        response = json_response(payload, 200 if payload else CLIENT_CLOSED_REQUEST)
    if isinstance(started, Started):
        response.headers["X-Conversation-Id"] = started.conversation_id
        response.headers["X-Message-Id"] = started.message_id
    return response


def _read_question() -> tuple[Question, bool]:
    fields = Fields(read_object(request, known=_FIELDS))
    message = fields.text("message", most=_LONGEST_MESSAGE)
    if message is None or not message.strip():
        raise InvalidRequest("message: is missing or empty")
    question = Question(
        caller=caller(),
        text=message,
        conversation_id=fields.pattern("conversation_id", r"[0-9a-f]{32}", "the id of a conversation"),
        bot=fields.pattern("bot", r"[a-z0-9][a-z0-9_-]{0,63}", "the name of a bot"),
    )
    return question, fields.flag("stream") or False


def _frame(event: AnswerEvent) -> Frame | None:
    match event:
        case Queued():
            return "queued", {"position": event.position, "eta_s": event.eta_s}
        case Token():
            return "token", {"text": event.text}
        case Done():
            return "done", answer_of(event)
        case _:
            return None


def answer_of(done: Done) -> dict[str, Any]:
    """The JSON of a finished answer."""
    return {
        "conversation_id": done.conversation_id,
        "message_id": done.message_id,
        "answer": done.answer,
        "answer_html": to_html(done.answer),
        "sources": [],
        "finish_reason": done.finish_reason,
        "usage": usage(done.usage),
        "context_truncated": done.context_truncated,
    }


def usage(used: Usage) -> dict[str, int | None]:
    """Token counts under the names that clients know from OpenAI's API."""
    both = (used.prompt_tokens, used.completion_tokens)
    total = None if None in both else sum(count or 0 for count in both)
    return {"prompt_tokens": both[0], "completion_tokens": both[1], "total_tokens": total}
