"""Retention on a real mongod whose TTL monitor looks every second."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.core.types import Message, now
from chatproxy.errors import NotFound
from scripts.lib.native import NativeStack, free_port
from tests.integration.proxy.conftest import until
from tests.integration.proxy.history.conftest import Client, Talk

DAY = timedelta(days=1)


@pytest.fixture
def hasty(server: NativeStack, tmp_path: Path) -> Iterator[str]:
    """A mongod that looks for what has expired every second; a running one would first sleep its minute out."""
    port = free_port()
    words = [server.services["mongo"].environment["MONGOD"], "--dbpath", str(tmp_path), "--port", str(port)]
    words += ["--bind_ip", "127.0.0.1", "--nounixsocket", "--quiet", "--setParameter", "ttlMonitorSleepSecs=1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        with Client("127.0.0.1", port) as client:
            client["admin"].command("ping")  # waits for half a minute
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


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


def test_a_message_goes_after_itself_and_the_conversation_after_its_last(hasty: str) -> None:
    history = MongoHistory(Database(hasty, "chatbot"))
    going_on, ended, kept = Talk(history), Talk(history), Talk(history)
    history.conversations("key:a", limit=1, cursor=None)  # connected, and the indexes are there
    almost = now() - 7 * DAY + timedelta(seconds=2)
    for talk, days in ((going_on, 7), (ended, 7), (kept, None)):
        _ask_at(talk, almost, days)
    newer = _ask_at(going_on, now(), 7)
    assert [len(talk.ids) for talk in (going_on, ended, kept)] == [4, 2, 2]
    with Client(hasty) as client:
        stored = client["chatbot"]["messages"].count_documents
        until(lambda: stored({}) == 4, 30)
        assert stored({"conversation_id": ended.conversation.id}) == 0
    assert going_on.ids == [message.id for message in newer]
    with pytest.raises(NotFound):
        history.conversation(ended.owner, ended.conversation.id)
    assert history.conversations(ended.owner, limit=1, cursor=None).items == []
    assert history.conversation(going_on.owner, going_on.conversation.id).retention_days == 7
    assert len(kept.ids) == 2
    _ask_at(going_on, now(), 7)
    assert len(going_on.ids) == 4


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
