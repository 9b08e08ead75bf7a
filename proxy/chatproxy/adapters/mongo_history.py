"""Conversations and messages in MongoDB; mongo_documents says what they look like, mongo_begin how they come in.

Every query by conversation goes through its owner first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice

from pymongo import ReturnDocument
from pymongo.database import Database as MongoDatabase

from chatproxy.adapters import mongo_images
from chatproxy.adapters.mongo import UNFLUSHED, Database, Document, again_if_broken
from chatproxy.adapters.mongo_begin import Beginning, hidden_in, places_of
from chatproxy.adapters.mongo_documents import (
    behind_cursor,
    conversation_of,
    conversations_page,
    message_of,
    no_conversation,
    no_message,
    place_of_cursor,
    said,
)
from chatproxy.adapters.mongo_superseded import Range, shown
from chatproxy.core.types import Conversation, Feedback, Image, Message, Page, Past
from chatproxy.errors import InvalidRequest

# What one prompt may look back on. The start moves in blocks of places, so that the prompt's beginning stays the same
# for long and the engine need not read it anew.
_RECENT = 400
# Characters of text on one page of messages: what a client that does not read leaves in our memory.
_PAGE_TEXT = 200_000
_RECENT_BLOCK = 100
_RANGES_AT_ONCE = 32
_DELETED_AT_ONCE = 500


class MongoHistory:
    """Implements core.ports.History."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- conversations ----------------------------------------------------------------------------------------------

    def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """See core.ports.History."""
        with self._database.opened() as database:
            return conversation_of(_own(database, owner, conversation_id))

    def conversations(self, owner: str, *, limit: int, cursor: str | None) -> Page[Conversation]:
        """See core.ports.History."""
        query = {"owner": owner, **(behind_cursor(cursor) if cursor is not None else {})}
        with self._database.collection("conversations") as conversations:
            found = conversations.find(query).sort([("updated_at", -1), ("_id", -1)]).limit(limit + 1)
            return conversations_page(list(found), limit)

    def rename(self, owner: str, conversation_id: str, title: str) -> Conversation:
        """See core.ports.History."""
        own, update = {"_id": conversation_id, "owner": owner}, {"$set": {"title": title}}
        with self._database.collection("conversations") as conversations:
            renamed = again_if_broken(
                lambda: conversations.find_one_and_update(own, update, return_document=ReturnDocument.AFTER)
            )
        if renamed is None:
            raise no_conversation(conversation_id)
        return conversation_of(renamed)

    # --- messages ---------------------------------------------------------------------------------------------------

    def messages(self, owner: str, conversation_id: str, *, limit: int, cursor: str | None) -> Page[Message]:
        """See core.ports.History."""
        begin = place_of_cursor(cursor)
        with self._database.opened() as database:
            conversation = _own(database, owner, conversation_id)
            ranges = shown(hidden_in(database, conversation), begin, conversation["messages"])
            found = _read(database, conversation_id, ranges, limit + 1)
        whole = _first_page(found, limit)
        more = len(found) > whole
        return Page([message_of(each) for each in found[:whole]], str(found[whole]["seq"]) if more else None)

    def past(self, owner: str, conversation_id: str, *, before: str | None = None) -> Past:
        """See core.ports.History."""
        with self._database.opened() as database:
            conversation = _own(database, owner, conversation_id)
            end = conversation["messages"] if before is None else _place(database, conversation_id, before)
            ranges = reversed(list(shown(hidden_in(database, conversation), 0, end)))
            found = _read(database, conversation_id, ranges, _RECENT + _RECENT_BLOCK, newest_first=True)
        messages = [message_of(document) for document in found[_first_recent(found) :]]
        return Past(conversation_of(conversation), messages)

    def message(self, owner: str, message_id: str) -> Message:
        """See core.ports.History."""
        with self._database.opened() as database:
            return message_of(_own_message(database, owner, message_id))

    def images(self, owner: str, conversation_id: str, ids: Sequence[str]) -> Sequence[Image]:
        """See core.ports.History."""
        with self._database.opened() as database:
            _own(database, owner, conversation_id)
            return mongo_images.read(database, conversation_id, ids)

    def begin(
        self, conversation: Conversation, messages: Sequence[Message], *, new: bool, instead_of: str | None = None
    ) -> None:
        """See core.ports.History."""
        with self._database.opened(growing=True) as database:
            Beginning(database, conversation, messages, new, instead_of).run()

    def finish(self, message: Message, *, durable: bool = True) -> None:
        """See core.ports.History."""
        with self._database.collection("messages") as messages:
            if not durable:
                messages = messages.with_options(write_concern=UNFLUSHED)
            # Never an upsert: what has been deleted meanwhile stays deleted.
            which, update = {"_id": message.id, "conversation_id": message.conversation_id}, {"$set": said(message)}
            if again_if_broken(lambda: messages.update_one(which, update)).matched_count == 0:
                raise no_message(message.id)

    def rate(self, owner: str, message_id: str, feedback: Feedback | None) -> None:
        """See core.ports.History."""
        given = feedback and {"rating": feedback.rating, "comment": feedback.comment}
        with self._database.opened() as database:
            if _own_message(database, owner, message_id)["role"] != "assistant":
                raise InvalidRequest("rating: only answers can be rated, this message is a question")
            update = {"$set": {"feedback": given}}
            if again_if_broken(lambda: database["messages"].update_one({"_id": message_id}, update)).matched_count == 0:
                raise no_message(message_id)

    # --- deleting ---------------------------------------------------------------------------------------------------

    def delete(self, owner: str, conversation_id: str) -> None:
        """See core.ports.History."""
        with self._database.opened() as database:
            _own(database, owner, conversation_id)
            again_if_broken(partial(_delete, database, [conversation_id]))

    def delete_all(self, owner: str, *, users: bool = False) -> int:
        """See core.ports.History."""
        deleted = self._delete_where({"owner": owner})
        if users:
            # ";" follows ":" in ASCII: everything that begins with "OWNER/user:", as a range of the index.
            deleted += self._delete_where({"owner": {"$gte": f"{owner}/user:", "$lt": f"{owner}/user;"}})
        return deleted

    def _delete_where(self, condition: Document) -> int:
        deleted = 0
        with self._database.opened() as database:
            while True:
                found = database["conversations"].find(condition, {"_id": 1}, batch_size=_DELETED_AT_ONCE)
                ids = [document["_id"] for document in found.limit(_DELETED_AT_ONCE)]
                if not ids:
                    return deleted
                again_if_broken(partial(_delete, database, ids))
                deleted += len(ids)


def _delete(database: MongoDatabase[Document], ids: list[str]) -> None:
    """Messages first: were we to stop in between, the owner still sees the conversation and can delete it again.

    Once more at the end, for those that came in between; one that comes later finds no conversation (see mongo_begin).
    """
    unflushed = database["messages"].with_options(write_concern=UNFLUSHED)
    unflushed.delete_many({"conversation_id": {"$in": ids}})
    mongo_images.forget(database, ids)
    database["conversations"].delete_many({"_id": {"$in": ids}})
    unflushed.delete_many({"conversation_id": {"$in": ids}})
    mongo_images.forget(database, ids)


def _own(database: MongoDatabase[Document], owner: str, conversation_id: str) -> Document:
    document = database["conversations"].find_one({"_id": conversation_id, "owner": owner})
    if document is None:
        raise no_conversation(conversation_id)
    return document


def _place(database: MongoDatabase[Document], conversation_id: str, message_id: str) -> int:
    places = places_of(database, [message_id], conversation_id=conversation_id)
    if message_id not in places:
        raise no_message(message_id)
    return places[message_id]


def _own_message(database: MongoDatabase[Document], owner: str, message_id: str) -> Document:
    message = database["messages"].find_one({"_id": message_id})
    if message is None or not database["conversations"].find_one(
        {"_id": message["conversation_id"], "owner": owner}, {"_id": 1}
    ):
        raise no_message(message_id)
    return message


def _read(
    database: MongoDatabase[Document],
    conversation_id: str,
    ranges: Iterable[Range],
    limit: int,
    *,
    newest_first: bool = False,
) -> list[Document]:
    """At most `limit` messages in these ranges of places (in reading order); sorted by place."""
    found: list[Document] = []
    coming = iter(ranges)
    # As ranges of the index, so that what is hidden is not even looked at. A few at a time, since each wants planning.
    while some := list(islice(coming, _RANGES_AT_ONCE)):
        places = [{"conversation_id": conversation_id, "seq": {"$gte": first, "$lt": end}} for first, end in some]
        query: Document = {"$or": places} if len(places) > 1 else places[0]
        order = -1 if newest_first else 1
        missing = limit - len(found)
        found += database["messages"].find(query, batch_size=missing).sort("seq", order).limit(missing)
        if len(found) == limit:
            break
    return found[::-1] if newest_first else found


def _first_page(found: Sequence[Document], limit: int) -> int:
    """How many of the messages make up a page: at most `limit`, and no more text than _PAGE_TEXT; at least one."""
    size = 0
    for count, document in enumerate(found[:limit]):
        size += len(document["text"])
        if size > _PAGE_TEXT and count:
            return count
    return min(limit, len(found))


def _first_recent(found: Sequence[Document]) -> int:
    """Where to begin: at the start of a block of places that leaves at least _RECENT messages."""
    if len(found) < _RECENT + _RECENT_BLOCK:
        return 0
    blocks = [document["seq"] // _RECENT_BLOCK for document in found[: _RECENT_BLOCK + 1]]
    return max(index for index in range(1, len(blocks)) if blocks[index] != blocks[index - 1])
