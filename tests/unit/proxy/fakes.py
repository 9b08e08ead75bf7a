"""Fakes that implement the core's ports, and an application built on them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from chatproxy.app import create_app
from chatproxy.core.keys import Keyring
from chatproxy.core.types import (
    Bot,
    Conversation,
    Embedded,
    EngineEvent,
    Finish,
    Generation,
    Idle,
    KeyRecord,
    Message,
    Page,
    Text,
)
from chatproxy.errors import NotFound, StorageUnavailable, Unhealthy
from chatproxy.settings import Settings

Script = Iterable[EngineEvent | Exception] | Callable[[Generation], Iterable[EngineEvent | Exception]]


def says(*pieces: str, reason: str = "stop") -> list[EngineEvent | Exception]:
    """A script: these pieces, then the end."""
    return [*(Text(piece) for piece in pieces), Finish("stop" if reason == "stop" else "length")]


class FakeEngine:
    """Plays `script` for every generation; an Exception in it is raised. A token is a word or a control string."""

    def __init__(self, script: Script = (), *, context: int | None = None) -> None:
        self.script: Script = script or says("Hello", " there", ".")
        self.context = context
        self.generations: list[Generation] = []
        self.closed = 0
        self.counted: list[str] = []
        self.count_error: Exception | None = None

    def generate(self, generation: Generation) -> Generator[EngineEvent]:
        self.generations.append(generation)
        try:
            for event in self.script(generation) if callable(self.script) else self.script:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed += 1

    def count_tokens(self, text: str) -> int:
        if self.count_error:
            raise self.count_error
        self.counted.append(text)
        return len(text.split()) + text.count("<|")

    def context_size(self) -> int | None:
        return self.context


def blocked_until(event: threading.Event, *then: EngineEvent) -> Callable[[Generation], Generator[EngineEvent]]:
    """A script that idles until `event` is set."""

    def script(_: Generation) -> Generator[EngineEvent]:
        while not event.wait(0.01):
            yield Idle()
        yield from then or (Text("late"), Finish("stop"))

    return script


class MemoryHistory:
    """Implements History in a dictionary; `down` makes every call fail, `down_after` the calls after so many adds."""

    def __init__(self) -> None:
        self.conversations_by_id: dict[str, Conversation] = {}
        self.stored: dict[str, list[Message]] = {}
        self.down = False
        self.adds_left: int | None = None

    def create(self, conversation: Conversation) -> None:
        self._check()
        self.conversations_by_id[conversation.id] = conversation
        self.stored[conversation.id] = []

    def conversation(self, owner: str, conversation_id: str) -> Conversation:
        self._check()
        found = self.conversations_by_id.get(conversation_id)
        if found is None or found.owner != owner:
            raise NotFound(public="There is no conversation with this id.")
        return found

    def conversations(self, owner: str, *, limit: int, cursor: str | None) -> Page[Conversation]:
        self._check()
        own = [c for c in self.conversations_by_id.values() if c.owner == owner]
        own.sort(key=lambda c: (c.updated_at, c.id), reverse=True)
        begin = int(cursor or 0)
        return Page(own[begin : begin + limit], str(begin + limit) if begin + limit < len(own) else None)

    def messages(self, owner: str, conversation_id: str, *, limit: int, cursor: str | None) -> Page[Message]:
        self.conversation(owner, conversation_id)
        found, begin = self.stored[conversation_id], int(cursor or 0)
        return Page(found[begin : begin + limit], str(begin + limit) if begin + limit < len(found) else None)

    def recent(self, owner: str, conversation_id: str) -> Sequence[Message]:
        self.conversation(owner, conversation_id)
        return list(self.stored[conversation_id])

    def add(self, owner: str, message: Message) -> None:
        if self.adds_left is not None:
            self.adds_left -= 1
            self.down = self.adds_left < 0
        conversation = self.conversation(owner, message.conversation_id)
        self.conversations_by_id[conversation.id] = replace(conversation, updated_at=message.created_at)
        if all(message.id != known.id for known in self.stored[conversation.id]):
            self.stored[conversation.id].append(message)

    def delete(self, owner: str, conversation_id: str) -> None:
        self.conversation(owner, conversation_id)
        del self.conversations_by_id[conversation_id], self.stored[conversation_id]

    def delete_all(self, owner: str) -> int:
        self._check()
        own = [c.id for c in self.conversations_by_id.values() if c.owner == owner]
        for conversation_id in own:
            self.delete(owner, conversation_id)
        return len(own)

    @property
    def all_messages(self) -> list[Message]:
        return list(itertools.chain.from_iterable(self.stored.values()))

    def _check(self) -> None:
        if self.down:
            raise StorageUnavailable("the fake is down")


class MemoryKeys:
    """Implements KeyStore in a dictionary."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyRecord] = {}
        self.looked_up: list[str] = []

    def add(self, key: KeyRecord) -> None:
        self.keys[key.id] = key

    def find(self, key_id: str) -> KeyRecord | None:
        self.looked_up.append(key_id)
        return self.keys.get(key_id)

    def all(self) -> Sequence[KeyRecord]:
        return list(self.keys.values())

    def revoke(self, key_id: str, moment: datetime) -> bool:
        if key_id not in self.keys:
            return False
        self.keys[key_id] = replace(self.keys[key_id], revoked_at=moment)
        return True


ASSISTANT = Bot("assistant", "Assistant", system="You are kind.", format="chatml", max_tokens=64)
MIRA = Bot("mira", "Mira", persona="Mira sails.", greeting="Ahoy!", format="pygmalion", max_tokens=64)


class FakeBots:
    """Implements Bots over the bots given."""

    def __init__(self, *bots: Bot) -> None:
        self.bots = {bot.id: bot for bot in bots or (ASSISTANT, MIRA)}

    def get(self, bot_id: str) -> Bot:
        try:
            return self.bots[bot_id]
        except KeyError:
            raise NotFound from None

    def all(self) -> Sequence[Bot]:
        return list(self.bots.values())


class FakeEmbedder:
    """Implements Embedder: a text's vector is its length and its number of words; `error` is raised instead."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.error: Exception | None = None
        self.tells_tokens = True

    def embed(self, texts: Sequence[str]) -> Embedded:
        if self.error:
            raise self.error
        self.texts.extend(texts)
        vectors = [[float(len(text)), float(len(text.split()))] for text in texts]
        return Embedded(vectors, sum(len(text.split()) for text in texts) if self.tells_tokens else None)


@dataclass
class FakeCheck:
    """Implements HealthCheck; `reason` makes it unhealthy."""

    name: str
    reason: str = ""

    def check(self) -> None:
        if self.reason:
            raise Unhealthy(self.reason)


@dataclass
class World:
    """An application on fakes, and keys to it."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    history: MemoryHistory = field(default_factory=MemoryHistory)
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    bots: FakeBots = field(default_factory=FakeBots)
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    checks: Sequence[Any] = (FakeCheck("engine"), FakeCheck("mongo"))
    settings: Settings = field(default_factory=lambda: Settings(trusted_hops=0, engine_slots=1, queue_size=2))

    def __post_init__(self) -> None:
        self.app: Flask = create_app(
            self.settings,
            engine=self.engine,
            history=self.history,
            keys=self.keys,
            bots=self.bots,
            embedder=self.embedder,
            checks=self.checks,
        )

    def key(self, *scopes: str, expires_days: int | None = None) -> str:
        chosen = frozenset(scopes or ("chat", "kobold"))
        return Keyring(self.keys).create("test", chosen, expires_days=expires_days)[0]

    def client(self, *scopes: str) -> FlaskClient:
        """A client that sends a fresh key with every request."""
        client = self.app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {self.key(*scopes)}"
        return client
