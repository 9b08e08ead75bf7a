"""Adapters against the real services, below HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pymongo
import pytest

from chatproxy.adapters.chroma import Chroma
from chatproxy.adapters.embeddings import Embeddings, EmbeddingsFailure
from chatproxy.adapters.mongo import MIGRATIONS, Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.adapters.openai_engine import OpenAiEngine
from chatproxy.core.types import Conversation, Generation, Message, Text, new_id, now
from chatproxy.errors import NotFound, StorageUnavailable, Unhealthy
from scripts.lib.native import NativeStack


@pytest.fixture
def credentials(native: NativeStack) -> dict[str, str]:
    return {"user": "chatproxy", "password": native.mongo_password_file.read_text().strip()}


@pytest.fixture
def history(native: NativeStack, credentials: dict[str, str]) -> MongoHistory:
    return MongoHistory(Database(native.mongo_url, "chatbot", **credentials))


def conversation(owner: str) -> Conversation:
    return Conversation(new_id(), owner, "assistant", "title", now(), now())


def message(where: Conversation, text: str) -> Message:
    return Message(new_id(), where.id, "user", text, now())


def test_messages_come_back_as_they_were_in_order(history: MongoHistory) -> None:
    where = conversation("key:a")
    history.create(where)
    said = [message(where, text) for text in ("one", "two 🙂\x00 <|im_end|>", "three" * 1000)]
    for each in said:
        history.add("key:a", each)
    assert list(history.recent("key:a", where.id)) == said
    first = history.messages("key:a", where.id, limit=2, cursor=None)
    rest = history.messages("key:a", where.id, limit=2, cursor=first.next_cursor)
    assert [*first.items, *rest.items] == said


def test_adding_a_message_twice_stores_it_once(history: MongoHistory) -> None:
    where = conversation("key:a")
    history.create(where)
    once = message(where, "once")
    history.add("key:a", once)
    history.add("key:a", once)
    assert list(history.recent("key:a", where.id)) == [once]


def test_a_message_for_a_deleted_or_strange_conversation_is_not_found(history: MongoHistory) -> None:
    where = conversation("key:a")
    history.create(where)
    with pytest.raises(NotFound):
        history.add("key:b", message(where, "x"))
    history.delete("key:a", where.id)
    with pytest.raises(NotFound):
        history.add("key:a", message(where, "x"))


def test_a_very_long_conversation_is_read_from_a_place_that_rarely_moves(history: MongoHistory) -> None:
    where = conversation("key:a")
    history.create(where)
    begins = []
    for number in range(530):
        history.add("key:a", message(where, str(number)))
        if number % 10 == 9:
            recent = history.recent("key:a", where.id)
            assert len(recent) >= min(number + 1, 400)
            begins.append(int(recent[0].text))
    assert set(begins) == {0, 100}


def test_conversations_of_the_same_moment_are_all_listed(history: MongoHistory) -> None:
    owner, moment = f"key:{new_id()}", now()
    same = [replace(conversation(owner), updated_at=moment) for _ in range(5)]
    older = replace(conversation(owner), updated_at=moment - timedelta(days=1))
    for each in (*same, older):
        history.create(each)
    seen: list[str] = []
    cursor = None
    while True:
        page = history.conversations(owner, limit=2, cursor=cursor)
        seen += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(item.id for item in (*same, older))
    assert seen[-1] == older.id


@pytest.fixture
def client(native: NativeStack, credentials: dict[str, str]) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
    with pymongo.MongoClient[dict[str, Any]](
        native.mongo_url, username=credentials["user"], password=credentials["password"], authSource="chatbot"
    ) as client:
        yield client


def test_lists_use_their_indexes(history: MongoHistory, client: pymongo.MongoClient[dict[str, Any]]) -> None:
    history.create(conversation("key:a"))
    by_owner = client["chatbot"]["conversations"].find({"owner": "key:a"}).sort([("updated_at", -1), ("_id", -1)])
    by_conversation = client["chatbot"]["messages"].find({"conversation_id": "x", "seq": {"$gte": 0}}).sort("seq", 1)
    for cursor, index in ((by_owner, "by_owner"), (by_conversation, "by_conversation")):
        plan = str(cursor.explain()["queryPlanner"]["winningPlan"])
        assert f"'indexName': '{index}'" in plan
        assert "'SORT'" not in plan
        assert "COLLSCAN" not in plan


def test_a_newer_schema_is_refused_with_a_clear_message(
    native: NativeStack, credentials: dict[str, str], client: pymongo.MongoClient[dict[str, Any]]
) -> None:
    schema = client["chatbot"]["schema"]
    schema.update_one({"_id": "version"}, {"$set": {"number": 99}}, upsert=True)
    try:
        database = Database(native.mongo_url, "chatbot", **credentials)
        with pytest.raises(StorageUnavailable, match="schema version 99, this program knows 1"):
            MongoHistory(database).conversations("key:a", limit=1, cursor=None)
        with pytest.raises(Unhealthy, match="schema version 99"):
            database.check()
    finally:
        schema.update_one({"_id": "version"}, {"$set": {"number": len(MIGRATIONS)}})


def test_a_wrong_password_is_named(native: NativeStack) -> None:
    with pytest.raises(Unhealthy, match="authentication failed"):
        Database(native.mongo_url, "chatbot", user="chatproxy", password="wrong").check()


def test_embeddings_are_vectors_whose_nearness_means_something(native: NativeStack) -> None:
    cat, kitten, invoice = Embeddings(native.embeddings_url).embed(["a cat", "a kitten", "an unpaid invoice"])

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert dot(cat, kitten) > dot(cat, invoice)
    with pytest.raises(EmbeddingsFailure):
        Embeddings("http://127.0.0.1:1").embed(["x"])


def test_chroma_wants_its_token(native: NativeStack) -> None:
    Chroma(native.chroma_url, token=native.chroma_token_file.read_text().strip()).check()
    with pytest.raises(Unhealthy, match="the token is refused"):
        Chroma(native.chroma_url).check()


def test_llama_cpp_tells_its_context_counts_tokens_and_ends_at_a_stop(native: NativeStack) -> None:
    engine = OpenAiEngine(native.engine_url, model="m")
    assert engine.context_size() == native.context_size
    assert engine.count_tokens("a<|im_end|>b") == 3
    counting = Generation("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,", 60, (", 18",))
    text = "".join(event.text for event in engine.generate(counting) if isinstance(event, Text))
    assert ", 18" not in text
