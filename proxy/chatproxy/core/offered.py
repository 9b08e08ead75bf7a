"""Which bots there are for whom: a key has them all, a visitor those that its site key and the bots' own files open."""

from __future__ import annotations

from chatproxy.core.access import Visit
from chatproxy.core.ports import Bots
from chatproxy.core.types import Bot
from chatproxy.errors import NotFound


def check(bot: Bot, visit: Visit | None) -> Bot:
    """The same bot. NotFound where it does not exist for this visitor."""
    if visit and not visit.allows(bot):
        raise NotFound(f"{bot.id} is not for {visit.site or 'the own page'}", public="There is no bot of that name.")
    return bot


def offered(bots: Bots, visit: Visit) -> list[Bot]:
    """Those that can answer this visitor, by id."""
    return [bot for bot in bots.all() if visit.allows(bot)]


def chosen(bots: Bots, wanted: str | None, default: str, visit: Visit | None) -> Bot:
    """The bot of that name; without one the default bot, or a visitor's first where it has not that one.

    Raises NotFound.
    """
    if wanted or visit is None:
        return check(bots.get(wanted or default), visit)
    known = offered(bots, visit)
    if not known:
        raise NotFound("no bot for this visit", public="There is no bot for visitors of this page.")
    return next((bot for bot in known if bot.id == default), known[0])
