"""POST /api/v1/search: the passages that retrieval finds for a question, without an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.access import Caller
from chatproxy.core.limits import Permit
from chatproxy.core.passages import Passage
from chatproxy.core.ports import Bots, Passages
from chatproxy.errors import InvalidRequest
from chatproxy.web import query
from chatproxy.web.auth import caller, needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.responses import json_response

_LONGEST_QUERY = 10_000  # characters; an embedding model reads a fraction of that
_COUNT, _MOST = 5, 20


def blueprint(passages: Passages, bots: Bots, admit: Callable[[Caller], Permit], *, default_bot: str) -> Blueprint:
    """The route; a bot's collections are what is searched. It counts as a request of its key (`admit`)."""
    routes = Blueprint("search", __name__)

    @routes.post("/api/v1/search")
    @needs("chat")
    def search() -> Response:
        query.check_known()
        fields = Fields(read_object(request, known=("query", "bot", "k")))
        text = fields.text("query", most=_LONGEST_QUERY)
        if text is None or not text.strip():
            raise InvalidRequest("query: is missing or empty")
        bot = bots.get(fields.pattern("bot", r"[a-z0-9][a-z0-9_-]{0,63}", "the name of a bot") or default_bot)
        count = fields.whole("k", 1, _MOST) or _COUNT
        with admit(caller()):
            found = passages.find(bot.knowledge, text, count)
        return json_response({"passages": [_shown(passage) for passage in found]})

    return routes


def _shown(passage: Passage) -> dict[str, Any]:
    return {
        "text": passage.text,
        "title": " > ".join(passage.path),
        "url": passage.url,
        "anchor": passage.anchor,
        "page": passage.page,
        "score": round(passage.score, 4),
    }
