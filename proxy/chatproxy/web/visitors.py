"""What a page asks before anybody chats: GET /api/v1/widget (what there is) and POST /api/v1/visitors (a token).

Both are for everybody, and judge by themselves from which page they are asked. A page's owner reads their refusals in
the browser's console, so every page may read them: see web/cors.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.access import Visit
from chatproxy.core.offered import chosen, offered
from chatproxy.core.ports import Bots
from chatproxy.core.types import Bot, Theme
from chatproxy.core.visitors import EXPIRES_IN_S, Visitors
from chatproxy.web import query
from chatproxy.web.auth import public
from chatproxy.web.body import Fields, read_object
from chatproxy.web.responses import json_response

# By which web/cors knows the two.
ENDPOINTS = ("visitors.widget", "visitors.visitors")
_LONGEST_SITE_KEY, _LONGEST_TOKEN = 100, 1000  # characters
_LARGEST_BODY = 8192  # bytes


def blueprint(visitors: Visitors, bots: Bots, *, default_bot: str, mail: bool) -> Blueprint:
    """The two routes; `mail`: whether conversations can be sent to a bot's `handoff_email`."""
    routes = Blueprint("visitors", __name__)

    @routes.get("/api/v1/widget", endpoint="widget")
    @public
    def describe_widget() -> Response:
        query.check_known("bot", "site_key")
        visit = visitors.enter(request.args.get("site_key", ""), request.headers.get("Origin"), own_origin())
        bot = chosen(bots, request.args.get("bot"), default_bot, visit)
        return json_response({"bot": _bot(bot, mail=mail), "bots": _listed(bots, visit)})

    @routes.post("/api/v1/visitors", endpoint="visitors")
    @public
    def give_token() -> Response:
        query.check_known()
        # Everybody may call this: nobody keeps one of our threads with a body that does not come.
        request.max_content_length = _LARGEST_BODY
        fields = Fields(read_object(request, known=("site_key", "token"), may_be_empty=True))
        token = visitors.issue(
            fields.text("site_key", most=_LONGEST_SITE_KEY) or "",
            request.headers.get("Origin"),
            own_origin(),
            address=request.remote_addr or "",
            old=fields.text("token", most=_LONGEST_TOKEN) or "",
        )
        return json_response({"token": token.text, "expires_in_s": EXPIRES_IN_S, "visitor_id": token.visitor})

    return routes


def own_origin() -> str:
    """The origin of this appliance's own pages, as the client's browser names it."""
    return f"{request.scheme}://{request.host}".lower()


def _listed(bots: Bots, visit: Visit) -> list[dict[str, str]]:
    return [{"id": bot.id, "name": bot.name} for bot in offered(bots, visit)]


def _bot(bot: Bot, *, mail: bool) -> dict[str, Any]:
    return {
        "id": bot.id,
        "name": bot.name,
        "greeting": bot.greeting,
        "quick_replies": list(bot.quick_replies),
        "languages": list(bot.languages),
        "theme": _theme(bot.theme),
        "consent": bot.consent,
        "max_message": Visit.longest_message(bot),
        "retention_days": bot.retention_days,
        "handoff": {"email": bot.handoff_email, "smtp": mail} if bot.handoff_email else None,
    }


def _theme(theme: Theme) -> dict[str, str]:
    """What the bot's file says; the widget chooses the rest."""
    told = {
        "accent": theme.accent,
        "accent_text": theme.accent_text,
        "color_scheme": theme.color_scheme,
        "position": theme.position,
    }
    return {name: value for name, value in told.items() if value}
