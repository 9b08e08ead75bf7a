"""Single messages: what their readers thought of an answer."""

from __future__ import annotations

from typing import Any, Literal, cast

from flask import Blueprint, Response, request

from chatproxy.core.ports import History
from chatproxy.core.types import Feedback
from chatproxy.errors import InvalidRequest
from chatproxy.web import ids, query, shown
from chatproxy.web.auth import needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.responses import json_response

_LONGEST_COMMENT = 2000  # characters


def blueprint(history: History) -> Blueprint:
    """The routes, over `history`. A message of somebody else's conversation is a 404."""
    routes = Blueprint("messages", __name__)

    @routes.post("/api/v1/messages/<message_id>/feedback")
    @needs("chat", "visitor")
    def rate(message_id: str) -> Response:
        query.check_known("user_id")
        rated = ids.message_id(message_id)
        feedback = _read_feedback(read_object(request, known=("rating", "comment")))
        history.rate(query.owner(), rated, feedback)
        return json_response({"message_id": message_id, "feedback": shown.feedback(feedback)})

    return routes


def _read_feedback(body: dict[str, Any]) -> Feedback | None:
    fields = Fields(body)
    if "rating" not in body:
        raise InvalidRequest('rating: is missing; it is "up", "down", or null to take it back')
    rating = fields.pattern("rating", "up|down", '"up", "down" or null')
    comment = fields.text("comment", most=_LONGEST_COMMENT, default="") or ""
    if rating is None:
        if comment:
            raise InvalidRequest("comment: needs a rating")
        return None
    return Feedback(cast(Literal["up", "down"], rating), comment)
