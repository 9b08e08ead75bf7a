"""Everybody's conversations: looked for, read, taken along, deleted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast
from urllib.parse import urlencode

from flask import Blueprint, Response, request
from werkzeug.wrappers import Response as AnyResponse

from chatproxy.core.archive import Archive, Found, Look, Rating
from chatproxy.core.keys import Keyring
from chatproxy.core.ports import History
from chatproxy.core.sites import Sites
from chatproxy.core.types import Conversation
from chatproxy.errors import InvalidRequest
from chatproxy.web import export, ids
from chatproxy.web.console import owners
from chatproxy.web.console.shell import Page, about, acts, done, page

_ON_A_PAGE, _MESSAGES_ON_A_PAGE, _EXPORTED_AT_ONCE = 50, 40, 200
_EXCERPT = 240  # characters
RATINGS = {"": "any or none", "any": "any", "good": "good", "bad": "bad"}


def blueprint(archive: Archive, history: History, keys: Keyring, sites: Sites) -> Blueprint:
    """The routes."""
    routes = Blueprint("conversations", __name__)

    @routes.get("/conversations")
    def listed() -> Page:
        given = {name: request.args.get(name, "").strip() for name in ("text", "bot", "rating", "from", "to")}
        interrupted = bool(request.args.get("interrupted"))
        wrong, more = "", None
        found: list[tuple[Found, str]] = []
        conversations: Sequence[Conversation] = ()
        try:
            look = _look(given, interrupted=interrupted)
            cursor = request.args.get("cursor") or None
            if look.is_for_messages:
                messages = archive.messages(look, limit=_ON_A_PAGE, cursor=cursor)
                found, more = [(each, _excerpt(each, look)) for each in messages.items], messages.next_cursor
            else:
                whole = archive.conversations(look, limit=_ON_A_PAGE, cursor=cursor)
                conversations, more = whole.items, whole.next_cursor
        except InvalidRequest as error:
            wrong = error.public
        chosen = {name: value for name, value in given.items() if value} | ({"interrupted": "1"} if interrupted else {})
        return page(
            "conversations.html",
            400 if wrong else 200,
            given=given,
            interrupted=interrupted,
            ratings=RATINGS,
            bots=archive.bots(),
            wrong=wrong,
            found=found,
            conversations=conversations,
            who=owners.short,
            chosen=chosen,
            more=urlencode({**chosen, "cursor": more}) if more else "",
        )

    @routes.get("/conversations/<conversation_id>")
    def one(conversation_id: str) -> Page:
        found = _conversation(conversation_id)
        messages = history.messages(
            found.owner, found.id, limit=_MESSAGES_ON_A_PAGE, cursor=request.args.get("cursor") or None
        )
        return page(
            "conversation.html",
            conversation=found,
            messages=messages.items,
            more=messages.next_cursor or "",
            first="cursor" not in request.args,
            owner=owners.tell(found.owner, keys, sites),
            deleted_at=_deleted_at(found),
        )

    @routes.post("/conversations/<conversation_id>/export")
    @acts("conversation.export")
    def exported(conversation_id: str) -> Response:
        about(conversation_id)
        found = _conversation(conversation_id)
        write = export.json_file if request.form.get("format") == "json" else export.markdown_file
        return write(
            found,
            lambda cursor: history.messages(found.owner, found.id, limit=_EXPORTED_AT_ONCE, cursor=cursor),
            lambda wanted: history.images(found.owner, found.id, wanted),
        )

    @routes.post("/conversations/<conversation_id>/delete")
    @acts("conversation.delete")
    def delete(conversation_id: str) -> AnyResponse:
        about(conversation_id)
        found = _conversation(conversation_id)
        history.delete(found.owner, found.id)
        return done("/conversations")

    @routes.post("/conversations/<conversation_id>/delete-all")
    @acts("conversation.delete-all")
    def delete_all(conversation_id: str) -> AnyResponse:
        found = _conversation(conversation_id)
        about(found.owner)
        if not request.form.get("sure"):
            raise InvalidRequest("Nothing is deleted: say that you are sure, with the box before the button.")
        about(f"{found.owner} ({history.delete_all(found.owner)} conversations)")
        return done("/conversations")

    def _conversation(given: str) -> Conversation:
        return archive.conversation(ids.conversation_id(given))

    return routes


def _look(given: dict[str, str], *, interrupted: bool) -> Look:
    if given["rating"] not in RATINGS:
        raise InvalidRequest(f"rating: must be one of {', '.join(filter(None, RATINGS))}")
    since, last = _day("from", given["from"]), _day("to", given["to"])
    look = Look(
        given["text"],
        given["bot"][:64],
        cast(Rating, given["rating"]),
        interrupted,
        since,
        last + timedelta(days=1) if last else None,
    )
    return replace(look, text=" ".join(look.words))


def _day(name: str, given: str) -> datetime | None:
    if not given:
        return None
    mistake = InvalidRequest(f"{name}: must be a day, as 2026-05-17")
    if not re.fullmatch(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}", given):
        raise mistake
    try:
        return datetime.fromisoformat(given).replace(tzinfo=UTC)
    except ValueError:
        raise mistake from None


def _excerpt(found: Found, look: Look) -> str:
    """Of the message, around the first of the words that were looked for."""
    text = " ".join(found.message.text.split())
    places = [match.start() for word in look.words if (match := re.search(re.escape(word), text, re.IGNORECASE))]
    begin = max(0, min(places, default=0) - _EXCERPT // 3)
    # Where a word begins, unless there are none.
    begin = text.find(" ", begin, begin + _EXCERPT // 6) + 1 or begin if begin else 0
    end = begin + _EXCERPT
    return f"{'… ' if begin else ''}{text[begin:end]}{' …' if end < len(text) else ''}"


def _deleted_at(conversation: Conversation) -> datetime | None:
    days = conversation.retention_days
    return None if days is None else conversation.updated_at + timedelta(days=days)
