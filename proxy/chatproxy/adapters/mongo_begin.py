"""Appending messages to a conversation in MongoDB: places given out, messages inserted, all with one journal flush.

    1. the conversation gives out places and says what is about to be superseded     w 1, no flush
    2. the messages are inserted in their places, behind their images                 w majority, j true
    3. the conversation is read: is it still there, does it know of the places?
    4. what has been superseded is written down for good                              w 1, no flush

One server's journal is in order, and a member of a replica set applies in order: when step 2 is on disk, so is step 1.
The insert of step 2 is what counts; mongo_superseded says why that holds for superseding too. Step 3 finds what can
come between: a conversation deleted meanwhile (the messages are taken back), or a server that crashed after step 1,
came back without it and took step 2 (it is done again). Step 4 only saves readers a query.

When the connection breaks, everything is tried again: the messages' ids are ours, so what had arrived is found again
and nothing is stored twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database as MongoDatabase
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    NetworkTimeout,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from chatproxy.adapters import mongo_images
from chatproxy.adapters.mongo import UNFLUSHED, Document
from chatproxy.adapters.mongo_documents import (
    conversation_document,
    expiry,
    message_document,
    no_conversation,
    no_message,
)
from chatproxy.adapters.mongo_superseded import Range, awaited, hidden, is_hidden, settled
from chatproxy.core.types import Conversation, Message

_ATTEMPTS = 3
_DUPLICATE_KEY = 11000


class _AgainError(PyMongoError):
    """Another attempt will find its way."""


@dataclass(frozen=True)
class Beginning:
    """One call of History.begin. `database` acknowledges what is on disk, unless asked not to."""

    database: MongoDatabase[Document]
    conversation: Conversation
    messages: Sequence[Message]
    new: bool
    instead_of: str | None

    def run(self) -> None:
        """See core.ports.History.begin; raises NotFound and MongoDB's own errors."""
        attempt = 0
        while True:
            attempt += 1
            try:
                self._attempt(first=attempt == 1)
            except (ServerSelectionTimeoutError, NetworkTimeout):
                raise  # a server that is away or hangs would only be waited for again
            except (ConnectionFailure, _AgainError):
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def _attempt(self, *, first: bool) -> None:
        ids = [message.id for message in self.messages]
        # Only a later attempt can find its own messages; superseding has a place to look up anyway.
        known = self._places([*ids, self.instead_of]) if self.instead_of else {} if first else self._places(ids)
        arrived = [known[id_] - index for index, id_ in enumerate(ids) if id_ in known]
        superseded_from = self._superseded_from(known, arrived=bool(arrived))
        if self.new:
            self._create()
        base = 0 if self.new else arrived[0] if arrived else self._give_out(superseded_from)
        self._insert(base, known)
        self._confirm(base + len(ids), superseded_from)

    def _superseded_from(self, known: dict[str, int], *, arrived: bool) -> int | None:
        if self.instead_of is None:
            return None
        first = known.get(self.instead_of)
        if first is None or (not arrived and is_hidden(first, hidden_in(self.database, self._state()))):
            raise no_message(self.instead_of)
        return first

    # --- step 1: places ---------------------------------------------------------------------------------------------

    def _create(self) -> None:
        document = conversation_document(self.conversation, len(self.messages))
        try:
            self.database["conversations"].with_options(write_concern=UNFLUSHED).insert_one(document)
        except DuplicateKeyError:
            return  # an earlier attempt made it, with the same places

    def _give_out(self, superseded_from: int | None) -> int:
        """The first of as many places as there are messages."""
        conversations = self.database["conversations"].with_options(write_concern=UNFLUSHED)
        moment, days = self.messages[-1].created_at, self.conversation.retention_days
        update: Document = {
            "$inc": {"messages": len(self.messages)},
            "$max": {"updated_at": moment},
            "$set": {"retention_days": days, "expires_at": expiry(moment, days)},
        }
        if superseded_from is not None:
            update["$push"] = {"superseded": {"first": superseded_from, "by": self.messages[0].id}}
        before = conversations.find_one_and_update(
            {**self._own, "retention_days": days}, update, projection={"messages": 1}
        )
        if before is None:
            # Deleted, or the bot's retention has changed. Then older messages are dealt with first: were we to stop in
            # between, the next time would find the same.
            self._shorten()
            before = conversations.find_one_and_update(self._own, update, projection={"messages": 1})
        if before is None:
            raise no_conversation(self.conversation.id)
        return int(before["messages"])

    def _shorten(self) -> None:
        """No message may stay longer than its conversation now does; what was to go earlier still goes then."""
        end = expiry(self.messages[-1].created_at, self.conversation.retention_days)
        self._state()  # somebody else's is not touched
        if end is not None:
            longer = [{"expires_at": None}, {"expires_at": {"$gt": end}}]
            condition = {"conversation_id": self.conversation.id, "$or": longer}
            self.database["messages"].with_options(write_concern=UNFLUSHED).update_many(
                condition, {"$set": {"expires_at": end}}
            )
            mongo_images.shorten(self.database, condition, end)

    # --- step 2: messages -------------------------------------------------------------------------------------------

    def _insert(self, base: int, known: dict[str, int]) -> None:
        days = self.conversation.retention_days
        documents = [message_document(each, base + index, days) for index, each in enumerate(self.messages)]
        missing = [document for document in documents if document["_id"] not in known]
        for message in self.messages:
            mongo_images.keep(self.database, message, expiry(message.created_at, days))
        messages = self.database["messages"]
        if not missing:
            # They had arrived, their acknowledgement had not: a write that changes nothing still waits for the disk.
            same = {"conversation_id": self.conversation.id}
            messages.update_one({"_id": documents[-1]["_id"]}, {"$set": same})
            return
        try:
            messages.insert_many(missing)
        except BulkWriteError as error:
            failed = error.details["writeErrors"][0]
            if failed["code"] != _DUPLICATE_KEY:
                raise
            if "seq" in failed["keyPattern"]:
                self._catch_up([document["_id"] for document in missing[: failed["index"]]])
            raise _AgainError from error

    def _catch_up(self, inserted: list[str]) -> None:
        """Our place was taken: the conversation had lost count, as after a restore of one collection alone."""
        self.database["messages"].delete_many({"_id": {"$in": inserted}})
        last = self.database["messages"].find_one({"conversation_id": self.conversation.id}, sort=[("seq", -1)])
        if last:
            self.database["conversations"].update_one(self._own, {"$max": {"messages": last["seq"] + 1}})

    # --- steps 3 and 4 ----------------------------------------------------------------------------------------------

    def _confirm(self, end: int, superseded_from: int | None) -> None:
        """`end` is the place behind the last message."""
        conversations = self.database["conversations"]
        state = conversations.find_one(self._own, _STATE)
        if state is None:
            if self.new:
                raise _AgainError  # deleted together with all others, or lost in a crash: not acknowledged yet
            self.database["messages"].delete_many({"_id": {"$in": [message.id for message in self.messages]}})
            mongo_images.forget_of(self.database, self.messages)
            raise no_conversation(self.conversation.id)
        if state["messages"] < end:
            conversations.update_one(self._own, {"$max": {"messages": end}})
        if superseded_from is None:
            return
        entries = state.get("superseded") or []
        places = places_of(self.database, awaited(entries))
        if not is_hidden(superseded_from, hidden(entries, places)):
            entry = {"first": superseded_from, "by": self.messages[0].id}
            conversations.update_one(self._own, {"$push": {"superseded": entry}})
            return
        # Where another one has changed the entries meanwhile, that one's own fourth step settles ours too.
        conversations.with_options(write_concern=UNFLUSHED).update_one(
            {**self._own, "superseded": entries}, {"$set": {"superseded": settled(entries, places)}}
        )

    # --- looking ----------------------------------------------------------------------------------------------------

    @property
    def _own(self) -> Document:
        return {"_id": self.conversation.id, "owner": self.conversation.owner}

    def _state(self) -> Document:
        state = self.database["conversations"].find_one(self._own, _STATE)
        if state is None:
            raise no_conversation(self.conversation.id)
        return state

    def _places(self, ids: Sequence[str]) -> dict[str, int]:
        return places_of(self.database, ids, conversation_id=self.conversation.id)


_STATE = {"messages": 1, "superseded": 1}


def hidden_in(database: MongoDatabase[Document], conversation: Document) -> list[Range]:
    """The superseded places of a conversation's document, ascending."""
    entries = conversation.get("superseded") or []
    return hidden(entries, places_of(database, awaited(entries)))


def places_of(database: MongoDatabase[Document], ids: Sequence[str], **where: Any) -> dict[str, int]:
    """The places of those messages that are there."""
    if not ids:
        return {}
    found = database["messages"].find({"_id": {"$in": list(ids)}, **where}, {"seq": 1})
    return {document["_id"]: int(document["seq"]) for document in found}
