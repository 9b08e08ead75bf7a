"""What retrieval finds for a question, and why: the passages with their scores, and whether a bot would refuse."""

from __future__ import annotations

from flask import Blueprint, request

from chatproxy.core.grounding import MOST_PASSAGES
from chatproxy.core.library import Library
from chatproxy.core.passages import Explained
from chatproxy.core.ports import Bots, Passages
from chatproxy.errors import ChatProxyError, InvalidRequest
from chatproxy.web.console import given
from chatproxy.web.console.shell import Page, about, acts, page

_LONGEST_QUESTION = 10_000  # characters; as /api/v1/search
_LABELS = {"question": "The question", "where": "Where to search"}


def blueprint(passages: Passages, library: Library, bots: Bots) -> Blueprint:
    """The routes."""
    routes = Blueprint("knowledge_try", __name__)

    @routes.get("/knowledge/try")
    def form() -> Page:
        kind = next((name for name in ("bot", "collection") if request.args.get(name)), "")
        return shown(where=f"{kind}:{request.args[kind]}" if kind else "")

    @routes.post("/knowledge/try")
    @acts("knowledge.try")
    def ask() -> Page:
        where = request.form.get("where", "")
        about(where[:100])
        try:
            question = given.needed("question", _LONGEST_QUESTION)
            found = passages.explain(places()[where][1], question, MOST_PASSAGES) if where in places() else None
            if found is None:
                raise InvalidRequest("where: choose a bot or a collection that there is")
        except ChatProxyError as error:
            return shown(error.status, where=where, wrong=given.wrong(error, _LABELS))
        return shown(where=where, found=found)

    def places() -> dict[str, tuple[str, tuple[str, ...]]]:
        """What can be searched: its value in the form -> its name and its collections."""
        known = {shelf.source.collection for shelf in library.shelves()}
        by_bot = {f"bot:{bot.id}": (f"Bot: {bot.name}", bot.knowledge) for bot in bots.all() if bot.knowledge}
        known.update(name for _, names in by_bot.values() for name in names)
        return {**by_bot, **{f"collection:{name}": (f"Collection: {name}", (name,)) for name in sorted(known)}}

    def shown(status: int = 200, *, where: str = "", wrong: str = "", found: Explained | None = None) -> Page:
        bot = next((bot for bot in bots.all() if where == f"bot:{bot.id}"), None)
        question = request.form.get("question", "")
        values = {"places": places(), "where": where, "wrong": wrong, "found": found, "bot": bot}
        return page("knowledge_try.html", status, question=question, **values)

    return routes
