"""Fakes that implement the core's ports, and an application built on them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask
from flask.testing import FlaskClient

from chatproxy.app import create_app
from chatproxy.core.access import NO_LIMITS, Limits
from chatproxy.core.keys import Keyring
from chatproxy.core.types import Bot, Embedded, EngineEvent, Finish, Generation, Idle, Text
from chatproxy.errors import NotFound, Unhealthy
from chatproxy.settings import Settings
from tests.unit.proxy.memory import MemoryHistory, MemoryKeys, MemoryUsage

T = TypeVar("T")
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
        self.context_error: Exception | None = None

    def generate(self, generation: Generation) -> Generator[EngineEvent]:
        self.generations.append(generation)
        try:
            yield Idle()
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
        if self.context_error:
            raise self.context_error
        return self.context

    def model(self) -> str:
        return "fake"


def blocked_until(event: threading.Event, *then: EngineEvent) -> Callable[[Generation], Generator[EngineEvent]]:
    """A script that idles until `event` is set."""

    def script(_: Generation) -> Generator[EngineEvent]:
        while not event.wait(0.01):
            yield Idle()
        yield from then or (Text("late"), Finish("stop"))

    return script


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
    usage: MemoryUsage = field(default_factory=MemoryUsage)
    bots: FakeBots = field(default_factory=FakeBots)
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    checks: Sequence[Any] = (FakeCheck("engine"), FakeCheck("mongo"))
    settings: Settings = field(default_factory=lambda: Settings(trusted_hops=0, engine_slots=1, queue_size=2))

    def __post_init__(self) -> None:
        self.app: Flask = create_app(
            self.settings,
            engines=(self.engine,),
            history=self.history,
            keys=self.keys,
            usage=self.usage,
            bots=self.bots,
            embedder=self.embedder,
            checks=self.checks,
        )

    def key(self, *scopes: str, expires_days: int | None = None, limits: Limits = NO_LIMITS) -> str:
        chosen = frozenset(scopes or ("chat", "kobold"))
        return Keyring(self.keys).create("test", chosen, expires_days=expires_days, limits=limits)[0]

    def client(self, *scopes: str, limits: Limits = NO_LIMITS) -> FlaskClient:
        """A client that sends a fresh key with every request."""
        client = self.app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {self.key(*scopes, limits=limits)}"
        return client
