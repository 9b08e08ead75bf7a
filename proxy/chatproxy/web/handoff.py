"""POST /api/v1/conversations/ID/handoff: a conversation sent to people."""

from __future__ import annotations

from flask import Blueprint, Response, request

from chatproxy.core.handoff import Handoff
from chatproxy.errors import InvalidRequest
from chatproxy.web import ids, query
from chatproxy.web.auth import needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.responses import json_response

# Characters; an address as long as RFC 5321 lets a path be.
_LONGEST_ADDRESS, _LONGEST_NOTE = 254, 2000


def blueprint(handoff: Handoff) -> Blueprint:
    """The route, over `handoff`. Somebody else's conversation is a 404."""
    routes = Blueprint("handoff", __name__)

    @routes.post("/api/v1/conversations/<conversation_id>/handoff")
    @needs("chat", "visitor")
    def hand_over(conversation_id: str) -> Response:
        query.check_known("user_id")
        where = ids.conversation_id(conversation_id)
        fields = Fields(read_object(request, known=("email", "note")))
        address = fields.text("email", most=_LONGEST_ADDRESS)
        if not address:
            raise InvalidRequest("email: is missing or empty")
        note = fields.text("note", most=_LONGEST_NOTE, default="") or ""
        handoff.send(query.owner(), where, address, note, client=request.remote_addr or "")
        return json_response({"sent": True}, 202)

    return routes
