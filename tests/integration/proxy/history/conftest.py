"""A mongod of these tests' own, which they may kill, and the history on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pymongo
import pytest

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.core.types import Conversation, Message, new_id, now
from scripts.lib.native import ROOT, NativeStack

Client = pymongo.MongoClient[dict[str, Any]]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeStack]:
    """Only its mongod runs; the model is never opened."""
    stack = NativeStack(tmp_path_factory.mktemp("history"), ROOT / "models" / "none.gguf")
    try:
        stack.start("mongo")
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="session")
def root(server: NativeStack) -> Iterator[Client]:
    """The server's administrator."""
    with Client(server.mongo_url, username="root", password=_root_password(server), tz_aware=True) as client:
        yield client


def open_as_root(server: NativeStack, name: str) -> Database:
    """Another database than the proxy's own, whose user may use no other."""
    return Database(f"{server.mongo_url}/?authSource=admin", name, user="root", password=_root_password(server))


def _root_password(server: NativeStack) -> str:
    return (server.data / "secrets" / "mongo_root_password").read_text().strip()


@pytest.fixture
def database(server: NativeStack) -> Database:
    return Database(
        server.mongo_url, "chatbot", user="chatproxy", password=server.mongo_password_file.read_text().strip()
    )


@pytest.fixture
def history(database: Database) -> MongoHistory:
    return MongoHistory(database)


class Talk:
    """A conversation of a fresh owner, and short words for what is done to it."""

    def __init__(self, history: MongoHistory, *, retention_days: int | None = None, owner: str | None = None) -> None:
        self.history = history
        self.owner = owner or f"key:{new_id()}"
        self.conversation = Conversation(new_id(), self.owner, "bot", "title", now(), now(), retention_days)
        self.new = True

    def pair(self, text: str) -> tuple[Message, Message]:
        """A question and its coming answer, not yet stored."""
        question = Message(new_id(), self.conversation.id, "user", text, now())
        return question, Message(new_id(), self.conversation.id, "assistant", "", now(), "interrupted")

    def ask(self, text: str, *, instead_of: Message | None = None) -> tuple[Message, Message]:
        pair = self.pair(text)
        self.begin(*pair, instead_of=instead_of)
        return pair

    def begin(self, *messages: Message, instead_of: Message | None = None) -> None:
        self.history.begin(self.conversation, messages, new=self.new, instead_of=instead_of.id if instead_of else None)
        self.new = False

    @property
    def ids(self) -> list[str]:
        """Of the messages that are shown."""
        return [message.id for message in self.history.past(self.owner, self.conversation.id).messages]

    @property
    def questions(self) -> list[str]:
        shown = self.history.past(self.owner, self.conversation.id).messages
        return [message.text for message in shown if message.role == "user"]


@pytest.fixture
def talk(history: MongoHistory) -> Talk:
    return Talk(history)


@pytest.fixture
def places(root: Client) -> Callable[[Talk], dict[str, int]]:
    """The stored places of all of a conversation's messages, hidden ones too."""

    def read(talk: Talk) -> dict[str, int]:
        found = root["chatbot"]["messages"].find({"conversation_id": talk.conversation.id}).sort("seq", 1)
        return {document["_id"]: document["seq"] for document in found}

    return read
