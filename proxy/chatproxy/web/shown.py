"""Conversations and messages as JSON shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chatproxy.core.types import Conversation, Feedback, Image, Message
from chatproxy.web.chat import source, usage
from chatproxy.web.markdown import to_html


def conversation(found: Conversation) -> dict[str, Any]:
    """Without its messages."""
    return {
        "id": found.id,
        "bot": found.bot,
        "title": found.title,
        "created_at": time(found.created_at),
        "updated_at": time(found.updated_at),
    }


def message(found: Message, *, html: bool = False) -> dict[str, Any]:
    """With what only answers have; `html`: that too, safe to insert into a page."""
    told: dict[str, Any] = {
        "id": found.id,
        "role": found.role,
        "text": found.text,
        "status": found.status,
        "created_at": time(found.created_at),
    }
    if found.images:
        told["images"] = [image(each) for each in found.images]
    if found.role == "assistant":
        told["finish_reason"] = found.finish_reason
        told["usage"] = usage(found.usage) if found.usage else None
        told["feedback"] = feedback(found.feedback)
        if found.sources:
            told["sources"] = [source(item) for item in found.sources]
        if html:
            told["html"] = to_html(found.text)
    return told


def image(found: Image) -> dict[str, Any]:
    """An image that was asked with; its data is in the conversation's export."""
    return {"id": found.id, "media_type": found.media_type, "width": found.width, "height": found.height}


def feedback(given: Feedback | None) -> dict[str, str] | None:
    """What somebody thought of an answer."""
    return {"rating": given.rating, "comment": given.comment} if given else None


def time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
