"""Fakes that implement the core's ports, and an application built on them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask
from flask.testing import FlaskClient

from chatproxy.app import create_apps
from chatproxy.core.access import NO_LIMITS, Limits
from chatproxy.core.engine_pages import PageEvent, PageHead, PageRequest
from chatproxy.core.keys import Keyring
from chatproxy.core.models import ModelFile, Offer
from chatproxy.core.passages import Explained, Passage, Seen
from chatproxy.core.sites import Sites
from chatproxy.core.types import Bot, BotProblem, Embedded, EngineEvent, Finish, Generation, Idle, Image, Letter, Text
from chatproxy.errors import ConfigurationError, NotFound, Unhealthy
from chatproxy.parts import Given
from chatproxy.settings import Settings
from tests.unit.proxy.admins import MemoryAdmins, MemoryAdminSessions, MemoryAudit, QuickHasher
from tests.unit.proxy.archive import MemoryArchive, MemoryRules
from tests.unit.proxy.knowledge import Knowledge
from tests.unit.proxy.memory import MemoryBackups, MemoryHistory, MemoryKeys, MemoryMinutes, MemorySites, MemoryUsage

T = TypeVar("T")
Script = Iterable[EngineEvent | Exception] | Callable[[Generation], Iterable[EngineEvent | Exception]]


def says(*pieces: str, reason: str = "stop") -> list[EngineEvent | Exception]:
    """A script: these pieces, then the end."""
    return [*(Text(piece) for piece in pieces), Finish("stop" if reason == "stop" else "length")]


class FakeEngine:
    """Plays `script` for every generation; an Exception in it is raised. A token is a word or a control string.

    It takes `images` images a prompt, each of `tokens_an_image` tokens.
    """

    def __init__(self, script: Script = (), *, context: int | None = None) -> None:
        self.script: Script = script or says("Hello", " there", ".")
        self.context = context
        self.images, self.tokens_an_image = 0, 100
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

    def most_images(self) -> int:
        return self.images

    def image_tokens(self, image: Image) -> int:
        return self.tokens_an_image


def blocked_until(event: threading.Event, *then: EngineEvent) -> Callable[[Generation], Generator[EngineEvent]]:
    """A script that idles until `event` is set."""

    def script(_: Generation) -> Generator[EngineEvent]:
        while not event.wait(0.01):
            yield Idle()
        yield from then or (Text("late"), Finish("stop"))

    return script


class FakeEnginePages:
    """Implements EnginePages: answers each request with `script`; an Exception in it is raised.

    `asked` holds (request, whether it computes), `aborted` (genkey, begun); `closed` counts the connections closed.
    """

    def __init__(self, *script: PageEvent | Exception) -> None:
        self.script: Callable[[PageRequest], Iterable[PageEvent | Exception]] = lambda _: script or shows("hello")
        self.asked: list[tuple[PageRequest, bool]] = []
        self.aborted: list[tuple[str, bool]] = []
        self.closed = 0

    def ask(self, request: PageRequest, *, computes: bool) -> Generator[PageEvent]:
        self.asked.append((request, computes))
        try:
            yield None
            for event in self.script(request):
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed += 1

    def abort(self, genkey: str, *, begun: bool) -> None:
        self.aborted.append((genkey, begun))


def shows(*pieces: str, status: int = 200, **headers: str) -> list[PageEvent | Exception]:
    """An engine's answer; `headers` are named as content_type."""
    named = {name.replace("_", "-"): value for name, value in {"content_type": "text/plain", **headers}.items()}
    return [PageHead(status, named), *(piece.encode() for piece in pieces)]


PEOPLE = "people@example.com"
SHOP = "https://shop.example"
ASSISTANT = Bot("assistant", "Assistant", system="You are kind.", format="chatml", max_tokens=64, handoff_email=PEOPLE)
MIRA = Bot("mira", "Mira", persona="Mira sails.", greeting="Ahoy!", format="pygmalion", max_tokens=64)


class FakeBots:
    """Implements Bots over the bots given."""

    def __init__(self, *bots: Bot) -> None:
        self.bots = {bot.id: bot for bot in bots or (ASSISTANT, MIRA)}
        self.problems: list[BotProblem] = []

    def get(self, bot_id: str) -> Bot:
        try:
            return self.bots[bot_id]
        except KeyError:
            raise NotFound(public="There is no bot of that name.") from None

    def all(self) -> Sequence[Bot]:
        return list(self.bots.values())

    def broken(self) -> Sequence[BotProblem]:
        return self.problems

    def check(self, text: str) -> Bot | Sequence[BotProblem]:
        _, _, name = text.partition("name: ")
        return Bot("", name) if name else [BotProblem("", "", 1, "name is missing")]


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


class FakePassages:
    """Implements Passages: what `found` holds, whatever is asked; `asked` keeps what that was, `error` is raised.

    `slow` is waited for before, and `busy` set meanwhile.
    """

    def __init__(self, *found: Passage) -> None:
        self.found = found
        self.asked: list[tuple[tuple[str, ...], str, str]] = []
        self.error: Exception | None = None
        self.slow: threading.Event | None = None
        self.busy = threading.Event()
        self.explained: Explained | None = None

    def find(self, collections: Sequence[str], question: str, count: int, *, before: str = "") -> Sequence[Passage]:
        self.asked.append((tuple(collections), question, before))
        self.busy.set()
        if self.slow:
            self.slow.wait(10)
        if self.error:
            raise self.error
        return self.found[:count] if collections else []

    def explain(self, collections: Sequence[str], question: str, count: int) -> Explained:
        found = self.find(collections, question, count)
        seen = tuple(Seen(passage, cosine=passage.score) for passage in found)
        return self.explained or Explained(seen, bool(seen), 0.6, 0.4)


class FakeModels:
    """Implements ModelShelf; without `offers` there is no catalogue."""

    def __init__(self) -> None:
        self.offers: list[Offer] = []
        self.there: list[ModelFile] = []
        self.bytes: int | None = 8 << 30

    def catalogue(self) -> Sequence[Offer]:
        if not self.offers:
            raise ConfigurationError("catalog.toml: there is none")
        return self.offers

    def files(self) -> Sequence[ModelFile]:
        return self.there

    def memory(self) -> int | None:
        return self.bytes


class FakeMailer:
    """Implements Mailer: keeps the letters; `error` is raised instead, `slow` is waited for before."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.error: Exception | None = None
        self.slow: threading.Event | None = None

    def send(self, letter: Letter) -> None:
        if self.slow:
            self.slow.wait(10)
        if self.error:
            raise self.error
        self.letters.append(letter)


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
    rules: MemoryRules = field(default_factory=MemoryRules)
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    sites: MemorySites = field(default_factory=MemorySites)
    usage: MemoryUsage = field(default_factory=MemoryUsage)
    minutes: MemoryMinutes = field(default_factory=MemoryMinutes)
    backups: MemoryBackups = field(default_factory=MemoryBackups)
    bots: FakeBots = field(default_factory=FakeBots)
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    passages: FakePassages = field(default_factory=FakePassages)
    knowledge: Knowledge = field(default_factory=Knowledge)
    mailer: FakeMailer | None = field(default_factory=FakeMailer)
    models: FakeModels = field(default_factory=FakeModels)
    admins: MemoryAdmins = field(default_factory=MemoryAdmins)
    admin_sessions: MemoryAdminSessions = field(default_factory=MemoryAdminSessions)
    hasher: QuickHasher = field(default_factory=QuickHasher)
    audit: MemoryAudit = field(default_factory=MemoryAudit)
    checks: Sequence[Any] = (FakeCheck("engine"), FakeCheck("mongo"))
    settings: Settings = field(default_factory=lambda: Settings(trusted_hops=0, engine_slots=1, queue_size=2))

    def __post_init__(self) -> None:
        given = Given(
            engines=(self.engine,),
            history=self.history,
            archive=MemoryArchive(self.history),
            rules=self.rules,
            keys=self.keys,
            sites=self.sites,
            usage=self.usage,
            minutes=self.minutes,
            backups=self.backups,
            bots=self.bots,
            embedder=self.embedder,
            passages=self.passages,
            mailer=self.mailer,
            library=self.knowledge.library,
            models=self.models,
            admins=self.admins,
            admin_sessions=self.admin_sessions,
            hasher=self.hasher,
            audit=self.audit,
            checks=self.checks,
        )
        apps = create_apps(self.settings, given)
        self.app: Flask = apps.public
        self.console: Flask = apps.console

    def key(self, *scopes: str, expires_days: int | None = None, limits: Limits = NO_LIMITS) -> str:
        chosen = frozenset(scopes or ("chat", "kobold"))
        return Keyring(self.keys).create("test", chosen, expires_days=expires_days, limits=limits)[0]

    def site(self, *origins: str, bots: Sequence[str] = (), limits: Limits = NO_LIMITS) -> str:
        """A fresh site key."""
        return Sites(self.sites).create("shop", origins or (SHOP,), bots=bots, limits=limits).id

    def visitor(self, site_key: str = "", origin: str | None = None) -> FlaskClient:
        """A new visitor of a page of `origin` (of this server's own page where it is None)."""
        client = self.app.test_client()
        if origin is not None:
            client.environ_base["HTTP_ORIGIN"] = origin
        given = client.post("/api/v1/visitors", json={"site_key": site_key})
        assert given.status_code == 200, given.text
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {given.get_json()['token']}"
        return client

    def client(self, *scopes: str, limits: Limits = NO_LIMITS) -> FlaskClient:
        """A client that sends a fresh key with every request."""
        client = self.app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {self.key(*scopes, limits=limits)}"
        return client
