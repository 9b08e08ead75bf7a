"""An owner's conversations: list, read, rename, export, delete. The owner is the key's holder or one of its users."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request

from chatproxy.core.ports import History
from chatproxy.errors import InvalidRequest
from chatproxy.web import export, ids, query, shown
from chatproxy.web.auth import needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.responses import json_response

_EXPORTED_AT_ONCE = 200  # messages
_LONGEST_TITLE = 200  # characters
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def blueprint(history: History) -> Blueprint:
    """The routes, over `history`. Somebody else's conversation is a 404."""
    routes = Blueprint("conversations", __name__)

    @routes.get("/api/v1/conversations")
    @needs("chat", "visitor")
    def all_conversations() -> Response:
        query.check_known("limit", "cursor", "user_id")
        limit, cursor = query.paging()
        page = history.conversations(query.owner(), limit=limit, cursor=cursor)
        listed = [shown.conversation(item) for item in page.items]
        return json_response({"conversations": listed, "next_cursor": page.next_cursor})

    @routes.delete("/api/v1/conversations")
    @needs("chat", "visitor")
    def delete_conversations() -> Response:
        query.check_known("user_id", "all_users")
        everybody = query.flag("all_users")
        if everybody and "user_id" in request.args:
            raise InvalidRequest("all_users: does not go with user_id")
        return json_response({"deleted": history.delete_all(query.owner(), users=everybody)})

    # What the rest of the path holds is the user's id, slashes too.
    @routes.delete("/api/v1/users/<path:user_id>")
    @needs("chat")
    def delete_user(user_id: str) -> Response:
        query.check_known()
        return json_response({"deleted": history.delete_all(query.owner_of(user_id))})

    @routes.get("/api/v1/conversations/<conversation_id>")
    @needs("chat", "visitor")
    def conversation(conversation_id: str) -> Response:
        query.check_known("limit", "cursor", "html", "user_id")
        limit, cursor = query.paging()
        html = query.flag("html")
        found = history.conversation(query.owner(), ids.conversation_id(conversation_id))
        page = history.messages(found.owner, found.id, limit=limit, cursor=cursor)
        messages = [shown.message(item, html=html) for item in page.items]
        return json_response({**shown.conversation(found), "messages": messages, "next_cursor": page.next_cursor})

    @routes.patch("/api/v1/conversations/<conversation_id>")
    @needs("chat", "visitor")
    def rename_conversation(conversation_id: str) -> Response:
        query.check_known("user_id")
        where, title = ids.conversation_id(conversation_id), _read_title()
        return json_response(shown.conversation(history.rename(query.owner(), where, title)))

    @routes.get("/api/v1/conversations/<conversation_id>/export")
    @needs("chat", "visitor")
    def export_conversation(conversation_id: str) -> Response:
        query.check_known("format", "user_id")
        write = {"json": export.json_file, "markdown": export.markdown_file}[query.choice("format", "json", "markdown")]
        found = history.conversation(query.owner(), ids.conversation_id(conversation_id))
        return write(
            found,
            lambda cursor: history.messages(found.owner, found.id, limit=_EXPORTED_AT_ONCE, cursor=cursor),
            lambda wanted: history.images(found.owner, found.id, wanted),
        )

    @routes.delete("/api/v1/conversations/<conversation_id>")
    @needs("chat", "visitor")
    def delete_conversation(conversation_id: str) -> Response:
        query.check_known("user_id")
        history.delete(query.owner(), ids.conversation_id(conversation_id))
        return json_response({"deleted": 1})

    return routes


def _read_title() -> str:
    title = Fields(read_object(request, known=("title",))).text("title", most=_LONGEST_TITLE)
    if title is None or not title.strip():
        raise InvalidRequest("title: is missing or empty")
    if _CONTROLS.search(title):
        raise InvalidRequest("title: must be one line without control characters")
    return title.strip()
