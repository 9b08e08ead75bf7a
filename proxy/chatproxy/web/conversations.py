"""An owner's conversations: list, read, delete."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.ports import History
from chatproxy.core.types import Conversation, Message
from chatproxy.errors import InvalidRequest, NotFound
from chatproxy.web.auth import identity, needs
from chatproxy.web.chat import usage
from chatproxy.web.responses import json_response

_ID = re.compile(r"[0-9a-f]{32}")
_LIMIT, _MOST = 50, 200


def blueprint(history: History) -> Blueprint:
    """The routes, over `history`. Somebody else's conversation is a 404."""
    routes = Blueprint("conversations", __name__)

    @routes.get("/api/v1/conversations")
    @needs("chat")
    def all_conversations() -> Response:
        limit, cursor = _paging()
        page = history.conversations(identity().owner, limit=limit, cursor=cursor)
        return json_response(
            {"conversations": [_conversation(item) for item in page.items], "next_cursor": page.next_cursor}
        )

    @routes.delete("/api/v1/conversations")
    @needs("chat")
    def delete_conversations() -> Response:
        return json_response({"deleted": history.delete_all(identity().owner)})

    @routes.get("/api/v1/conversations/<conversation_id>")
    @needs("chat")
    def conversation(conversation_id: str) -> Response:
        limit, cursor = _paging()
        found = history.conversation(identity().owner, _checked(conversation_id))
        page = history.messages(identity().owner, found.id, limit=limit, cursor=cursor)
        messages = [_message(item) for item in page.items]
        return json_response({**_conversation(found), "messages": messages, "next_cursor": page.next_cursor})

    @routes.delete("/api/v1/conversations/<conversation_id>")
    @needs("chat")
    def delete_conversation(conversation_id: str) -> Response:
        history.delete(identity().owner, _checked(conversation_id))
        return json_response({"deleted": 1})

    return routes


def _checked(conversation_id: str) -> str:
    if not _ID.fullmatch(conversation_id):
        raise NotFound("not the shape of an id", public="There is no conversation with this id.")
    return conversation_id


def _paging() -> tuple[int, str | None]:
    unknown = sorted(request.args.keys() - {"limit", "cursor"})
    if unknown:
        raise InvalidRequest(f"{unknown[0][:60]}: no such parameter; known are limit, cursor")
    raw = request.args.get("limit", str(_LIMIT))
    if not re.fullmatch(r"[0-9]{1,4}", raw) or not 1 <= int(raw) <= _MOST:
        raise InvalidRequest(f"limit: must be a whole number from 1 to {_MOST}")
    return int(raw), request.args.get("cursor")


def _conversation(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "bot": conversation.bot,
        "title": conversation.title,
        "created_at": _time(conversation.created_at),
        "updated_at": _time(conversation.updated_at),
    }


def _message(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": message.id,
        "role": message.role,
        "text": message.text,
        "status": message.status,
        "created_at": _time(message.created_at),
    }
    if message.role == "assistant":
        told |= {"finish_reason": message.finish_reason, "usage": usage(message.usage) if message.usage else None}
    return told


def _time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
