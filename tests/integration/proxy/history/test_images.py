"""Images on a real mongod: stored before their message, read by their owner alone, gone with their conversation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.core.types import Image, Message
from chatproxy.errors import NotFound
from tests.integration.proxy.history.conftest import Client, Talk


def show(talk: Talk, *data: bytes) -> Message:
    """Ask with images; the question as it was given."""
    question, answer = talk.pair("What?")
    images = tuple(Image("image/png", 4, 3, each, f"{question.id}-{n}") for n, each in enumerate(data, start=1))
    question = replace(question, images=images)
    talk.begin(question, answer)
    return question


def stored(root: Client, talk: Talk) -> int:
    return root["chatbot"]["images"].count_documents({"conversation_id": talk.conversation.id})


def test_messages_name_their_images_and_the_data_is_read_apart(talk: Talk, history: MongoHistory) -> None:
    question = show(talk, b"red", b"blue")
    (found, _) = history.past(talk.owner, talk.conversation.id).messages
    assert found.images == tuple(replace(image, data=b"") for image in question.images)
    ids = [image.id for image in reversed(question.images)]
    assert history.images(talk.owner, talk.conversation.id, [*ids, "gone"]) == list(reversed(question.images))


def test_nobody_else_reads_them(talk: Talk, history: MongoHistory) -> None:
    (image,) = show(talk, b"red").images
    with pytest.raises(NotFound):
        history.images("key:other", talk.conversation.id, [image.id])
    other = Talk(history, owner=talk.owner)
    other.ask("Hi")
    assert history.images(talk.owner, other.conversation.id, [image.id]) == []


def test_the_same_message_again_stores_nothing_twice(talk: Talk, root: Client) -> None:
    question, answer = talk.pair("What?")
    question = replace(question, images=(Image("image/png", 4, 3, b"red", f"{question.id}-1"),))
    talk.begin(question, answer)
    talk.new = True
    talk.begin(question, answer)
    assert stored(root, talk) == 1


def test_they_are_deleted_with_their_conversation(talk: Talk, history: MongoHistory, root: Client) -> None:
    show(talk, b"red")
    other = Talk(history, owner=talk.owner)
    show(other, b"blue")
    history.delete(talk.owner, talk.conversation.id)
    assert (stored(root, talk), stored(root, other)) == (0, 1)
    history.delete_all(talk.owner)
    assert stored(root, other) == 0


def test_a_deleted_conversation_takes_no_images_any_more(talk: Talk, history: MongoHistory, root: Client) -> None:
    talk.ask("Hi")
    history.delete(talk.owner, talk.conversation.id)
    with pytest.raises(NotFound):
        show(talk, b"red")
    assert stored(root, talk) == 0


def test_they_expire_with_their_message_also_when_retention_is_shortened(history: MongoHistory, root: Client) -> None:
    talk = Talk(history, retention_days=30)
    question = show(talk, b"red")
    images = root["chatbot"]["images"]
    (first,) = images.find({"conversation_id": talk.conversation.id})
    assert first["expires_at"] == question.created_at + timedelta(days=30)
    talk.conversation = replace(talk.conversation, retention_days=2)
    last = talk.ask("And?")[1]
    (first,) = images.find({"conversation_id": talk.conversation.id})
    assert first["expires_at"] == last.created_at + timedelta(days=2)
    index = images.index_information()["expiry"]
    assert (index["key"], index["expireAfterSeconds"]) == ([("expires_at", 1)], 2**31 - 1)
