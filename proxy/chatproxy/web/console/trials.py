"""One question to two bots, side by side: as a form that waits for both answers, and streamed for trial.js."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, g, request

from chatproxy.core.answer import AnswerEvent, Replaced, Sources
from chatproxy.core.generation import Queued, Token
from chatproxy.core.ports import Bots
from chatproxy.core.trials import Trials, Tried
from chatproxy.core.types import Bot
from chatproxy.errors import ChatProxyError, InvalidRequest
from chatproxy.web.chat import source, usage
from chatproxy.web.clients import watch
from chatproxy.web.console import given
from chatproxy.web.console.shell import Page, about, acts, page, session
from chatproxy.web.sse import encode, named_error, stream, to_the_end

_LONGEST_QUESTION = 20_000  # characters
_LABELS = {
    "question": "The question",
    "message": "The question",
    "left": "Bot on the left",
    "right": "Bot on the right",
}


@dataclass(frozen=True, slots=True)
class Column:
    """What came of asking one bot."""

    bot: Bot
    tried: Tried | None = None
    error: str = ""


def blueprint(trials: Trials, bots: Bots, *, default_bot: str) -> Blueprint:
    """The routes."""
    routes = Blueprint("trials", __name__)

    @routes.get("/bots/-/try")
    def form() -> Page:
        wanted = request.args.get("bot", "") or default_bot
        return shown(left=wanted, right=request.args.get("beside", "") or wanted)

    @routes.post("/bots/-/try")
    @acts("bot.try")
    def ask() -> Page:
        question, left, right = request.form.get("question", ""), *(request.form.get(n, "") for n in ("left", "right"))
        about(f"{left}, {right}"[:200])
        try:
            given.needed("question", _LONGEST_QUESTION)
            chosen = [_bot(name) for name in ("left", "right")]
        except InvalidRequest as error:
            wrong = given.wrong(error, _LABELS)
            return shown(400, question=question, left=left, right=right, wrong=wrong)
        columns = [column(bot, question.strip()) for bot in chosen]
        return shown(question=question, left=left, right=right, columns=columns)

    @routes.post("/bots/-/try/answer")
    @acts("bot.try")
    def answer() -> Response:
        about(request.form.get("bot", "")[:100])
        events = trials.ask(session().admin, request.form.get("bot", ""), request.form.get("question", "").strip())
        try:
            given.needed("question", _LONGEST_QUESTION)
            first = next(events)
        except ChatProxyError as error:
            g.outcome = error.code
            return Response(named_error(error), error.status, content_type="text/event-stream; charset=utf-8")
        return stream(_with(first, events), _event, named_error, watch(request.environ))

    def column(bot: Bot, question: str) -> Column:
        try:
            last = to_the_end(trials.ask(session().admin, bot.id, question), watch(request.environ))
        except ChatProxyError as error:
            g.outcome = error.code
            return Column(bot, error=error.public)
        return Column(bot, last if isinstance(last, Tried) else None)

    def shown(
        status: int = 200,
        *,
        question: str = "",
        left: str = "",
        right: str = "",
        wrong: str = "",
        columns: list[Column] | None = None,
    ) -> Page:
        values = {"question": question, "left": left, "right": right, "wrong": wrong, "columns": columns}
        return page("bot_try.html", status, bots=bots.all(), **values)

    def _bot(name: str) -> Bot:
        wanted = request.form.get(name, "")
        known = {bot.id: bot for bot in bots.all()}
        if wanted not in known:
            raise InvalidRequest(f"{name}: there is no bot {wanted[:60]!r}")
        return known[wanted]

    return routes


def _with(first: AnswerEvent | Tried, others: Generator[AnswerEvent | Tried]) -> Generator[AnswerEvent | Tried]:
    try:
        yield first
        yield from others
    finally:
        others.close()


def _event(event: AnswerEvent | Tried) -> bytes:
    told: tuple[str, dict[str, Any]]
    match event:
        case Queued():
            told = "queued", {"position": event.position, "eta_s": event.eta_s}
        case Sources():
            told = "sources", {"sources": [source(item) for item in event.sources]}
        case Token():
            told = "token", {"text": event.text}
        case Replaced():
            told = "replace", {"text": event.text}
        case Tried():
            told = "done", _told(event)
        case _:
            return b""
    return encode(*told)


def _told(tried: Tried) -> dict[str, Any]:
    return {
        "answer": tried.done.answer,
        "sources": [source(item) for item in tried.done.sources],
        "finish_reason": tried.done.finish_reason,
        "usage": usage(tried.done.usage),
        "context_truncated": tried.done.context_truncated,
        "first_token_s": tried.first_token_s,
        "total_s": tried.total_s,
        "queued": tried.queued,
    }
