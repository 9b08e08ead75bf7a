"""Retention on a real mongod: who says when something goes, and that it does."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_expiry import MongoExpiry
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.core.expiry import Expiry, Look
from chatproxy.core.types import Message, new_id, now
from chatproxy.errors import NotFound
from scripts.lib.native import NativeStack
from tests.integration.proxy.history.conftest import Client, Talk, open_as_root

DAY = timedelta(days=1)


@pytest.fixture
def own(server: NativeStack, root: Client) -> Database:
    """A database in which nothing else is old."""
    database = open_as_root(server, f"kept_{new_id()}")
    database.check()
    return database


def _ask_at(talk: Talk, moment: datetime, retention_days: int | None) -> tuple[Message, Message]:
    question, answer = (replace(message, created_at=moment) for message in talk.pair("Hi"))
    talk.conversation = replace(talk.conversation, updated_at=moment, retention_days=retention_days)
    talk.begin(question, answer)
    return question, answer


def _stored(root: Client, talk: Talk) -> tuple[Any, list[Any]]:
    """`expires_at` of the conversation and of its messages in order."""
    conversation = root["chatbot"]["conversations"].find_one({"_id": talk.conversation.id})
    assert conversation is not None
    messages = root["chatbot"]["messages"].find({"conversation_id": talk.conversation.id}).sort("seq", 1)
    return conversation["expires_at"], [message["expires_at"] for message in messages]


def test_a_message_goes_after_itself_and_the_conversation_after_its_last(own: Database) -> None:
    history, moment = MongoHistory(own), now()
    expiry = Expiry(MongoExpiry(own), clock=lambda: moment)
    going_on, ended, kept = Talk(history), Talk(history), Talk(history)
    for talk, days in ((going_on, 7), (ended, 7), (kept, None)):
        _ask_at(talk, moment - 7 * DAY + timedelta(seconds=2), days)
    newer = _ask_at(going_on, moment, 7)
    assert expiry.look() == 0
    assert [len(talk.ids) for talk in (going_on, ended, kept)] == [4, 2, 2]
    moment += timedelta(seconds=2)
    assert expiry.look() == 5  # two messages and their conversation, two messages of one that goes on
    assert going_on.ids == [message.id for message in newer]
    with pytest.raises(NotFound):
        history.conversation(ended.owner, ended.conversation.id)
    assert history.conversations(ended.owner, limit=1, cursor=None).items == []
    assert history.conversation(going_on.owner, going_on.conversation.id).retention_days == 7
    assert len(kept.ids) == 2
    _ask_at(going_on, now(), 7)
    assert len(going_on.ids) == 4


def test_figures_and_acts_go_in_time_too_and_what_has_no_end_stays(own: Database, root: Client) -> None:
    moment = now()
    with own.opened() as database:
        database["audit"].insert_many([{"at": moment - days * DAY} for days in (365, 367)])
        database["minutes"].insert_many([{"expires_at": moment + hours * timedelta(hours=1)} for hours in (-1, 1)])
        database["images"].insert_many([{"expires_at": None}, {"expires_at": moment - DAY}, {}])
        assert MongoExpiry(own).remove(moment) == 3
        left = {name: database[name].count_documents({}) for name in ("audit", "minutes", "images")}
    assert left == {"audit": 1, "minutes": 1, "images": 2}


def test_the_last_look_is_remembered(own: Database) -> None:
    store, at = MongoExpiry(own), datetime.fromisoformat("2026-05-01T12:00:00+00:00")
    assert store.last() is None
    for look in (Look(at), Look(at + DAY, at + 2 * DAY)):
        store.note(look)
        assert store.last() == look


def test_a_longer_retention_counts_from_the_next_message_on(talk: Talk, root: Client) -> None:
    moment = now()
    _ask_at(talk, moment - DAY, 7)
    _ask_at(talk, moment, 30)
    assert _stored(root, talk) == (moment + 30 * DAY, [moment + 6 * DAY] * 2 + [moment + 30 * DAY] * 2)
    _ask_at(talk, moment, None)
    assert _stored(root, talk) == (None, [moment + 6 * DAY] * 2 + [moment + 30 * DAY] * 2 + [None] * 2)


def test_with_a_shorter_retention_no_message_outlives_its_conversation(talk: Talk, root: Client) -> None:
    moment = now()
    _ask_at(talk, moment - 40 * DAY, 365)
    _ask_at(talk, moment - DAY, None)
    _ask_at(talk, moment - DAY, 3)
    assert _stored(root, talk) == (moment + 2 * DAY, [moment + 2 * DAY] * 6)
    _ask_at(talk, moment, 3)
    assert _stored(root, talk) == (moment + 3 * DAY, [moment + 2 * DAY] * 6 + [moment + 3 * DAY] * 2)


def test_superseded_messages_expire_like_others(talk: Talk, root: Client) -> None:
    moment = now()
    first, _ = _ask_at(talk, moment, 7)
    question, answer = talk.pair("better")
    talk.begin(question, answer, instead_of=first)
    assert all(expires_at is not None for expires_at in _stored(root, talk)[1])
