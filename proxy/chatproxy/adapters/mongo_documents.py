"""Conversations and messages as MongoDB's documents.

    conversations  _id, owner, bot, title, created_at, updated_at, messages (how many places were given out),
                   retention_days, expires_at, superseded (see mongo_superseded)
    messages       _id, conversation_id, seq (place in the conversation, from 0; a place can stay empty), role, text,
                   created_at, status, finish_reason, prompt_tokens, completion_tokens, expires_at, feedback,
                   sources (n, title, url, snippet), images (see mongo_images); both only where there are any

Documents of schema version 1 lack retention_days, expires_at, superseded and feedback; null means the same as absent.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from chatproxy.adapters import mongo_images
from chatproxy.adapters.mongo import Document
from chatproxy.core.types import Conversation, Feedback, Message, Page, Source, Usage
from chatproxy.errors import InvalidRequest, NotFound

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def conversation_document(conversation: Conversation, places: int) -> Document:
    """A new conversation in which `places` places are taken."""
    return {
        "_id": conversation.id,
        "owner": conversation.owner,
        "bot": conversation.bot,
        "title": conversation.title,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        "messages": places,
        "retention_days": conversation.retention_days,
        "expires_at": expiry(conversation.updated_at, conversation.retention_days),
    }


def conversation_of(document: Document) -> Conversation:
    """The conversation that a document holds."""
    return Conversation(
        document["_id"],
        document["owner"],
        document["bot"],
        document["title"],
        document["created_at"],
        document["updated_at"],
        document.get("retention_days"),
    )


def message_document(message: Message, place: int, retention_days: int | None) -> Document:
    """A new message at `place`."""
    return {
        "_id": message.id,
        "conversation_id": message.conversation_id,
        "seq": place,
        "role": message.role,
        "created_at": message.created_at,
        "expires_at": expiry(message.created_at, retention_days),
        **said(message),
        **({"images": [mongo_images.told(image) for image in message.images]} if message.images else {}),
    }


def said(message: Message) -> Document:
    """What of a message changes while its answer is being made."""
    usage = message.usage or Usage(None, None)
    return {
        "text": message.text,
        "status": message.status,
        "finish_reason": message.finish_reason,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        **({"sources": [asdict(source) for source in message.sources]} if message.sources else {}),
    }


def message_of(document: Document) -> Message:
    """The message that a document holds."""
    counted = document["role"] == "assistant"
    rated = document.get("feedback")
    return Message(
        document["_id"],
        document["conversation_id"],
        document["role"],
        document["text"],
        document["created_at"],
        document["status"],
        document["finish_reason"],
        Usage(document["prompt_tokens"], document["completion_tokens"]) if counted else None,
        Feedback(rated["rating"], rated["comment"]) if rated else None,
        tuple(Source(**source) for source in document.get("sources", ())),
        tuple(mongo_images.image_of(image) for image in document.get("images", ())),
    )


def expiry(moment: datetime, retention_days: int | None) -> datetime | None:
    """When something of `moment` is deleted (see mongo_expiry); None = never."""
    return None if retention_days is None else moment + timedelta(days=retention_days)


def no_conversation(conversation_id: str) -> NotFound:
    """It is not there, or somebody else's."""
    return NotFound(f"no conversation {conversation_id}", public="There is no conversation with this id.")


def no_message(message_id: str) -> NotFound:
    """It is not there, or somebody else's."""
    return NotFound(f"no message {message_id}", public="There is no message with this id.")


def conversations_page(documents: list[Document], limit: int) -> Page[Conversation]:
    """The first `limit` of the documents found; one more tells that there are more."""
    items = [conversation_of(document) for document in documents[:limit]]
    if len(documents) <= limit:
        return Page(items)
    # Milliseconds since 1970 and the id, which orders conversations of the same moment.
    return Page(items, f"{(items[-1].updated_at - _EPOCH) // timedelta(milliseconds=1)}-{items[-1].id}")


def behind_cursor(cursor: str) -> Document:
    """The condition for what follows the page that gave `cursor` out."""
    match = re.fullmatch(r"([0-9]{1,14})-([0-9a-f]{32})", cursor)
    if not match:
        raise InvalidRequest("cursor: not one that this list has given out")
    moment = _EPOCH + timedelta(milliseconds=int(match[1]))
    # The plain bound comes first: with the $or alone the index would be read from the owner's newest on.
    return {
        "updated_at": {"$lte": moment},
        "$or": [{"updated_at": {"$lt": moment}}, {"_id": {"$lt": match[2]}}],
    }


def place_of_cursor(cursor: str | None) -> int:
    """The place from which a page of messages begins."""
    if cursor is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", cursor):
        raise InvalidRequest("cursor: not one that this list has given out")
    return int(cursor)
