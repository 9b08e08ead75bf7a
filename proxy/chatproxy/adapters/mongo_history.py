"""Conversations and messages in MongoDB.

    conversations  _id, owner, bot, title, created_at, updated_at, messages (how many places were given out)
    messages       _id, conversation_id, seq (place in the conversation, from 0), role, text, created_at, status,
                   finish_reason, prompt_tokens, completion_tokens

Every query by conversation goes through its owner first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from chatproxy.adapters.mongo import Database, Document, insert_once
from chatproxy.core.types import Conversation, Message, Page, Usage
from chatproxy.errors import InvalidRequest, NotFound

# What one prompt may look back on. The start moves in blocks, so that the prompt's beginning stays the same for long.
_RECENT = 400
_RECENT_BLOCK = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MongoHistory:
    """Implements core.ports.History."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, conversation: Conversation) -> None:
        """See core.ports.History."""
        with self._database.collection("conversations") as conversations:
            insert_once(
                conversations,
                {
                    "_id": conversation.id,
                    "owner": conversation.owner,
                    "bot": conversation.bot,
                    "title": conversation.title,
                    "created_at": conversation.created_at,
                    "updated_at": conversation.updated_at,
                    "messages": 0,
                },
            )

    def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """See core.ports.History."""
        return _conversation(self._own(owner, conversation_id))

    def conversations(self, owner: str, *, limit: int, cursor: str | None) -> Page[Conversation]:
        """See core.ports.History."""
        query: Document = {"owner": owner}
        if cursor is not None:
            moment, last_id = _parse_cursor(cursor)
            query["$or"] = [{"updated_at": {"$lt": moment}}, {"updated_at": moment, "_id": {"$lt": last_id}}]
        with self._database.collection("conversations") as conversations:
            found = list(conversations.find(query).sort([("updated_at", -1), ("_id", -1)]).limit(limit + 1))
        items = [_conversation(document) for document in found[:limit]]
        more = len(found) > limit
        return Page(items, _cursor(items[-1]) if more else None)

    def messages(self, owner: str, conversation_id: str, *, limit: int, cursor: str | None) -> Page[Message]:
        """See core.ports.History."""
        if cursor is not None and not re.fullmatch(r"[0-9]{1,9}", cursor):
            raise InvalidRequest("cursor: not one that this list has given out")
        self._own(owner, conversation_id)
        query = {"conversation_id": conversation_id, "seq": {"$gte": int(cursor or 0)}}
        with self._database.collection("messages") as messages:
            found = list(messages.find(query).sort("seq", 1).limit(limit + 1))
        more = len(found) > limit
        return Page([_message(document) for document in found[:limit]], str(found[-1]["seq"]) if more else None)

    def recent(self, owner: str, conversation_id: str) -> Sequence[Message]:
        """See core.ports.History."""
        places = int(self._own(owner, conversation_id)["messages"])
        first = max(0, (places - _RECENT) // _RECENT_BLOCK * _RECENT_BLOCK)
        query = {"conversation_id": conversation_id, "seq": {"$gte": first}}
        with self._database.collection("messages") as messages:
            return [_message(document) for document in messages.find(query).sort("seq", 1)]

    def add(self, owner: str, message: Message) -> None:
        """See core.ports.History."""
        with self._database.collection("conversations") as conversations:
            conversation = conversations.find_one_and_update(
                {"_id": message.conversation_id, "owner": owner},
                {"$inc": {"messages": 1}, "$set": {"updated_at": message.created_at}},
                projection={"messages": 1},
                return_document=ReturnDocument.BEFORE,
            )
        if conversation is None:
            raise _no_conversation(message.conversation_id)
        with self._database.collection("messages") as messages:
            _insert_message(messages, message, int(conversation["messages"]))

    def delete(self, owner: str, conversation_id: str) -> None:
        """See core.ports.History."""
        self._own(owner, conversation_id)
        self._delete([conversation_id])

    def delete_all(self, owner: str) -> int:
        """See core.ports.History."""
        with self._database.collection("conversations") as conversations:
            ids = [document["_id"] for document in conversations.find({"owner": owner}, {"_id": 1})]
        self._delete(ids)
        return len(ids)

    def _delete(self, ids: list[str]) -> None:
        # Messages first: were we to stop in between, the owner still sees the conversation and can delete it again.
        with self._database.collection("messages") as messages:
            messages.delete_many({"conversation_id": {"$in": ids}})
        with self._database.collection("conversations") as conversations:
            conversations.delete_many({"_id": {"$in": ids}})

    def _own(self, owner: str, conversation_id: str) -> Document:
        with self._database.collection("conversations") as conversations:
            document = conversations.find_one({"_id": conversation_id, "owner": owner})
        if document is None:
            raise _no_conversation(conversation_id)
        return document


def _insert_message(messages: Collection[Document], message: Message, seq: int) -> None:
    usage = message.usage or Usage(None, None)
    document = {
        "_id": message.id,
        "conversation_id": message.conversation_id,
        "seq": seq,
        "role": message.role,
        "text": message.text,
        "created_at": message.created_at,
        "status": message.status,
        "finish_reason": message.finish_reason,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
    }
    try:
        insert_once(messages, document)
    except DuplicateKeyError:
        if messages.find_one({"_id": message.id}, {"_id": 1}) is None:
            raise  # not this message again, but its place taken by another


def _no_conversation(conversation_id: str) -> NotFound:
    return NotFound(f"no conversation {conversation_id}", public="There is no conversation with this id.")


def _conversation(document: Document) -> Conversation:
    return Conversation(
        document["_id"],
        document["owner"],
        document["bot"],
        document["title"],
        document["created_at"],
        document["updated_at"],
    )


def _message(document: Document) -> Message:
    counted = document["role"] == "assistant"
    return Message(
        document["_id"],
        document["conversation_id"],
        document["role"],
        document["text"],
        document["created_at"],
        document["status"],
        document["finish_reason"],
        Usage(document["prompt_tokens"], document["completion_tokens"]) if counted else None,
    )


def _cursor(conversation: Conversation) -> str:
    """Place in the list: milliseconds since 1970 and the id, which orders conversations of the same moment."""
    return f"{(conversation.updated_at - _EPOCH) // timedelta(milliseconds=1)}-{conversation.id}"


def _parse_cursor(cursor: str) -> tuple[datetime, str]:
    match = re.fullmatch(r"([0-9]{1,14})-([0-9a-f]{32})", cursor)
    if not match:
        raise InvalidRequest("cursor: not one that this list has given out")
    return _EPOCH + timedelta(milliseconds=int(match[1])), match[2]
