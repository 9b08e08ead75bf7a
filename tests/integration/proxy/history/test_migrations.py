"""Data of an earlier version of the schema, as the code of that version wrote it, read by this one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.database import Database as MongoDatabase

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.adapters.mongo_migrations import MIGRATIONS
from chatproxy.core.types import Conversation, Feedback, Message, Usage, new_id, now
from chatproxy.errors import NotFound
from scripts.lib.native import NativeStack
from tests.integration.proxy.history.conftest import Client, open_as_root

WHERE, QUESTION, ANSWER, PART = (f"{number:032x}" for number in range(4))
MOMENT = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
OWNER = "key:old"


@pytest.fixture
def old(root: Client) -> MongoDatabase[dict[str, Any]]:
    """A database of its own with the schema, indexes and documents of version 1."""
    database = root[f"old_{new_id()}"]
    database["conversations"].create_index([("owner", 1), ("updated_at", -1), ("_id", -1)], name="by_owner")
    database["messages"].create_index([("conversation_id", 1), ("seq", 1)], name="by_conversation", unique=True)
    database["schema"].insert_one({"_id": "version", "number": 1})
    conversation = {"_id": WHERE, "owner": OWNER, "bot": "assistant", "title": "Old"}
    database["conversations"].insert_one({**conversation, "created_at": MOMENT, "updated_at": MOMENT, "messages": 3})
    common = {"conversation_id": WHERE, "created_at": MOMENT}
    no_counts = {"prompt_tokens": None, "completion_tokens": None}
    database["messages"].insert_many(
        [
            {
                **common,
                **no_counts,
                "_id": QUESTION,
                "seq": 0,
                "role": "user",
                "text": "Hi",
                "status": "complete",
                "finish_reason": None,
            },
            {
                **common,
                "_id": ANSWER,
                "seq": 1,
                "role": "assistant",
                "text": "Hello.",
                "status": "complete",
                "finish_reason": "stop",
                "prompt_tokens": 9,
                "completion_tokens": 2,
            },
            {
                **common,
                **no_counts,
                "_id": PART,
                "seq": 2,
                "role": "assistant",
                "text": "Hal",
                "status": "interrupted",
                "finish_reason": "cancelled",
            },
        ]
    )
    return database


@pytest.fixture
def opened(old: MongoDatabase[dict[str, Any]], server: NativeStack) -> Database:
    return open_as_root(server, old.name)


def test_documents_of_version_1_read_as_they_were(opened: Database) -> None:
    history = MongoHistory(opened)
    conversation = Conversation(WHERE, OWNER, "assistant", "Old", MOMENT, MOMENT)
    assert list(history.conversations(OWNER, limit=5, cursor=None).items) == [conversation]
    assert list(history.messages(OWNER, WHERE, limit=5, cursor=None).items) == [
        Message(QUESTION, WHERE, "user", "Hi", MOMENT),
        Message(ANSWER, WHERE, "assistant", "Hello.", MOMENT, "complete", "stop", Usage(9, 2)),
        Message(PART, WHERE, "assistant", "Hal", MOMENT, "interrupted", "cancelled", Usage(None, None)),
    ]
    assert history.message(OWNER, ANSWER).text == "Hello."


def test_a_conversation_of_version_1_goes_on(opened: Database, old: MongoDatabase[dict[str, Any]]) -> None:
    history = MongoHistory(opened)
    history.rate(OWNER, ANSWER, Feedback("up", "still right"))
    history.finish(Message(PART, WHERE, "assistant", "Halt.", MOMENT, "complete", "stop"))
    moment = now()
    again = Message(new_id(), WHERE, "assistant", "", moment, "interrupted")
    conversation = Conversation(WHERE, OWNER, "assistant", "Old", MOMENT, MOMENT, retention_days=7)
    history.begin(conversation, [again], new=False, instead_of=PART)
    assert [message.id for message in history.past(OWNER, WHERE).messages] == [QUESTION, ANSWER, again.id]
    assert history.message(OWNER, ANSWER).feedback == Feedback("up", "still right")
    # The bot's retention now holds for what was stored without one.
    assert old["messages"].count_documents({"expires_at": moment + timedelta(days=7)}) == 4
    history.delete(OWNER, WHERE)
    assert old["messages"].count_documents({}) == 0
    with pytest.raises(NotFound):
        history.conversation(OWNER, WHERE)


def test_the_migration_may_run_again_after_a_crash(
    opened: Database, old: MongoDatabase[dict[str, Any]], server: NativeStack
) -> None:
    opened.check()
    stored = old["schema"].find_one({"_id": "version"})
    assert stored is not None
    assert stored["number"] == len(MIGRATIONS)
    for name in ("conversations", "messages"):
        index = old[name].index_information()["expiry"]
        assert (index["key"], index["expireAfterSeconds"]) == ([("expires_at", 1)], 2**31 - 1)
    old["schema"].update_one({"_id": "version"}, {"$set": {"number": 1}})
    open_as_root(server, old.name).check()
