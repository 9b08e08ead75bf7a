"""The pages of bots: their files, good and broken, one in full, and a file looked at before it is put there."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint

from chatproxy.core.bot_remarks import remarks
from chatproxy.core.library import Library
from chatproxy.core.ports import Bots
from chatproxy.core.prompts import Formats
from chatproxy.core.types import Bot
from chatproxy.errors import InvalidRequest, StorageUnavailable
from chatproxy.web.console import given
from chatproxy.web.console.shell import Page, acts, page

_LARGEST_FILE = 300_000  # characters: the core says what is too much


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What bots are judged by."""

    default: str
    context_size: int


def blueprint(bots: Bots, library: Library, formats: Formats, around: Surroundings) -> Blueprint:
    """The routes."""
    routes = Blueprint("bots", __name__)

    @routes.get("/bots")
    def listing() -> Page:
        return page("bots.html", bots=bots.all(), broken=bots.broken(), default=around.default, format=shown_format)

    @routes.get("/bots/<bot_id>")
    def one(bot_id: str) -> Page:
        bot = bots.get(bot_id)
        broken = [problem for problem in bots.broken() if problem.bot == bot_id]
        return page("bot.html", bot=bot, broken=broken, format=shown_format(bot), remarks=_remarks(bot))

    @routes.get("/bots/-/check")
    def form() -> Page:
        return page("bot_check.html", text="", wrong="", findings=None, bot=None, format="", remarks=[])

    @routes.post("/bots/-/check")
    @acts("bot.check")
    def check() -> Page:
        text, wrong, found = "", "", None
        try:
            text = given.needed("text", _LARGEST_FILE)
            found = bots.check(text)
        except InvalidRequest as error:
            wrong = given.wrong(error, {"text": "The file"})
        bot = found if isinstance(found, Bot) else None
        return page(
            "bot_check.html",
            400 if wrong else 200,
            text=text,
            wrong=wrong,
            findings=None if bot else found,
            bot=bot,
            format=shown_format(bot) if bot else "",
            remarks=_remarks(bot) if bot else [],
        )

    def shown_format(bot: Bot) -> str:
        """A prompt format's name; what stands behind "auto" too."""
        return f"auto ({formats.get(bot.format).name})" if bot.format == "auto" else bot.format

    def _remarks(bot: Bot) -> list[str]:
        try:
            filled = {shelf.source.collection for shelf in library.shelves() if shelf.counts.chunks}
        except StorageUnavailable:
            filled = set(bot.knowledge)
        return list(remarks(bot, filled, around.context_size))

    return routes
