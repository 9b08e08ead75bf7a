"""Adapters against the real services, below HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from chatproxy.adapters.chroma import Chroma
from chatproxy.adapters.embeddings import Embeddings, EmbeddingsFailure
from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.adapters.mongo_migrations import MIGRATIONS
from chatproxy.adapters.openai_engine import OpenAiEngine
from chatproxy.core.types import Generation, Text
from chatproxy.errors import StorageUnavailable, Unhealthy
from scripts.lib.native import NativeStack


@pytest.fixture
def credentials(native: NativeStack) -> dict[str, str]:
    return {"user": "chatproxy", "password": native.mongo_password_file.read_text().strip()}


@pytest.fixture
def client(native: NativeStack, credentials: dict[str, str]) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
    with pymongo.MongoClient[dict[str, Any]](
        native.mongo_url, username=credentials["user"], password=credentials["password"], authSource="chatbot"
    ) as client:
        yield client


def test_a_newer_schema_is_refused_with_a_clear_message(
    native: NativeStack, credentials: dict[str, str], client: pymongo.MongoClient[dict[str, Any]]
) -> None:
    Database(native.mongo_url, "chatbot", **credentials).check()  # whoever comes first brings the schema up to date
    schema = client["chatbot"]["schema"]
    schema.update_one({"_id": "version"}, {"$set": {"number": 99}})
    try:
        database = Database(native.mongo_url, "chatbot", **credentials)
        with pytest.raises(StorageUnavailable, match=f"schema version 99, this program knows {len(MIGRATIONS)}"):
            MongoHistory(database).conversations("key:a", limit=1, cursor=None)
        with pytest.raises(Unhealthy, match="schema version 99"):
            database.check()
    finally:
        schema.update_one({"_id": "version"}, {"$set": {"number": len(MIGRATIONS)}})


def test_a_wrong_password_is_named(native: NativeStack) -> None:
    with pytest.raises(Unhealthy, match="authentication failed"):
        Database(native.mongo_url, "chatbot", user="chatproxy", password="wrong").check()


def test_embeddings_are_vectors_whose_nearness_means_something(native: NativeStack) -> None:
    embedded = Embeddings(native.embeddings_url).embed(["a cat", "a kitten", "an unpaid invoice"])
    cat, kitten, invoice = embedded.vectors
    assert embedded.tokens
    assert embedded.tokens > 6

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
