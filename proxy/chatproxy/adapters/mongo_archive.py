"""The archive in MongoDB: the history's own collections, looked at across all owners.

Words are found by a text index that knows no language: no stemming, no stop words, any letter case, with or without
accents. What has no words in that sense is looked for in the texts themselves, as are signs alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pymongo
from pymongo.database import Database as MongoDatabase
from pymongo.errors import ExecutionTimeout, NetworkTimeout

from chatproxy.adapters.mongo import Database, Document
from chatproxy.adapters.mongo_begin import hidden_in
from chatproxy.adapters.mongo_documents import (
    behind_cursor,
    conversation_of,
    conversations_page,
    message_of,
    no_conversation,
    no_message,
)
from chatproxy.adapters.mongo_superseded import is_hidden
from chatproxy.core.archive import Found, Look
from chatproxy.core.types import Conversation, Page
from chatproxy.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEWEST_FIRST = [("created_at", -1), ("_id", -1)]
_RATINGS: dict[str, Any] = {"good": "up", "bad": "down", "any": {"$in": ["up", "down"]}}
_PLACE = {"conversation_id": 1, "seq": 1, "created_at": 1}
_AT_ONCE = 200  # messages whose conversations are looked up together
_MOST_S = 5.0


class MongoArchive:
    """Implements core.archive.Archive."""

    def __init__(self, database: Database, *, most_s: float = _MOST_S) -> None:
        """Messages are looked for during `most_s` seconds at most."""
        self._database, self._most_s = database, most_s

    def conversations(self, look: Look, *, limit: int, cursor: str | None) -> Page[Conversation]:
        """See core.archive.Archive."""
        query: Document = {"bot": look.bot} if look.bot else {}
        conditions = [_span("updated_at", look), behind_cursor(cursor) if cursor is not None else {}]
        query["$and"] = [condition for condition in conditions if condition] or [{}]
        with self._database.collection("conversations") as conversations:
            found = conversations.find(query).sort([("updated_at", -1), ("_id", -1)]).limit(limit + 1)
            return conversations_page(list(found), limit)

    def messages(self, look: Look, *, limit: int, cursor: str | None) -> Page[Found]:
        """See core.archive.Archive."""
        with self._database.opened() as database:
            try:
                # Around all of it: a frequent word with a rare bot wants thousands of short look-ups.
                with pymongo.timeout(self._most_s):
                    chosen = list(islice(_visible(database, look, _places(database, look, cursor)), limit + 1))
                    ids = [place["_id"] for place, _ in chosen[:limit]]
                    texts = {each["_id"]: each for each in database["messages"].find({"_id": {"$in": ids}})}
            except (ExecutionTimeout, NetworkTimeout):  # whichever side notices first
                raise InvalidRequest(
                    "text: stands in too many messages to be found in time; look for more words, or in a shorter time"
                ) from None
        found = [
            _found(where, texts[place["_id"]])
            for place, where in chosen[:limit]
            if place["_id"] in texts  # it may have been deleted in this very moment
        ]
        return Page(found, _cursor(chosen[limit - 1][0]) if len(chosen) > limit else None)

    def conversation(self, conversation_id: str) -> Conversation:
        """See core.archive.Archive."""
        with self._database.collection("conversations") as conversations:
            document = conversations.find_one({"_id": conversation_id})
        if document is None:
            raise no_conversation(conversation_id)
        return conversation_of(document)

    def message(self, conversation_id: str, message_id: str) -> Found:
        """See core.archive.Archive."""
        with self._database.opened() as database:
            where = database["conversations"].find_one({"_id": conversation_id})
            said = database["messages"].find_one({"_id": message_id, "conversation_id": conversation_id})
        if where is None:
            raise no_conversation(conversation_id)
        if said is None:
            raise no_message(message_id)
        return _found(where, said)

    def bots(self) -> Sequence[str]:
        """See core.archive.Archive."""
        with self._database.collection("conversations") as conversations:
            return sorted(conversations.distinct("bot"))


def _found(where: Document, said: Document) -> Found:
    begin = max(0, said["seq"] - (said["role"] == "assistant"))
    return Found(conversation_of(where), message_of(said), str(begin))


def _places(database: MongoDatabase[Document], look: Look, cursor: str | None) -> Iterator[Document]:
    """Where messages stand that `look` is for, newest first; their texts stay where they are."""
    query: Document = _words(look)
    if look.rating:
        query["feedback.rating"] = _RATINGS[look.rating]
    if look.interrupted:
        query["status"] = "interrupted"
    conditions = [_span("created_at", look), _behind(cursor) if cursor is not None else {}]
    query["$and"] = [condition for condition in conditions if condition] or [{}]
    if not look.text:
        yield from database["messages"].find(query, _PLACE).sort(_NEWEST_FIRST)
        return
    # Places alone are sorted, which fit into memory where the texts would not.
    steps = [{"$match": query}, {"$project": _PLACE}, {"$sort": dict(_NEWEST_FIRST)}]
    yield from database["messages"].aggregate(steps, batchSize=_AT_ONCE)


def _words(look: Look) -> Document:
    if not look.text:
        return {}
    if look.is_in_index:
        # In quotation marks each one must be there; without, any of them would do.
        return {"$text": {"$search": " ".join(f'"{word}"' for word in look.words)}}
    return {"$or": [{"$and": [{"text": {"$regex": re.escape(word), "$options": "i"}} for word in look.words]}]}


def _visible(
    database: MongoDatabase[Document], look: Look, places: Iterator[Document]
) -> Iterator[tuple[Document, Document]]:
    """(message's place, its conversation), where it is of the bot that is looked for and has not been replaced."""
    bot = {"bot": look.bot} if look.bot else {}
    while some := list(islice(places, _AT_ONCE)):
        ids = list({place["conversation_id"] for place in some})
        known = {each["_id"]: each for each in database["conversations"].find({"_id": {"$in": ids}, **bot})}
        hidden = {id_: hidden_in(database, each) for id_, each in known.items() if each.get("superseded")}
        for place in some:
            where = known.get(place["conversation_id"])
            if where and not is_hidden(place["seq"], hidden.get(where["_id"], ())):
                yield place, where


def _span(field: str, look: Look) -> Document:
    span = {"$gte": look.since, "$lt": look.until}
    wanted = {how: moment for how, moment in span.items() if moment}
    return {field: wanted} if wanted else {}


def _cursor(place: Document) -> str:
    """Milliseconds since 1970 and the id, which orders messages of the same moment."""
    return f"{(place['created_at'] - _EPOCH) // timedelta(milliseconds=1)}-{place['_id']}"


def _behind(cursor: str) -> Document:
    match = re.fullmatch(r"([0-9]{1,14})-([0-9a-f]{32})", cursor)
    if not match:
        raise InvalidRequest("cursor: not one that this list has given out")
    moment = _EPOCH + timedelta(milliseconds=int(match[1]))
    return {
        "created_at": {"$lte": moment},
        "$or": [{"created_at": {"$lt": moment}}, {"_id": {"$lt": match[2]}}],
    }
