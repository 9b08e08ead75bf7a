"""Where the tests play: a real proxy, an engine that says what a test wants, a homepage, a line that breaks."""

from __future__ import annotations

import contextlib
import re
import runpy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from scripts.lib.native import ROOT, NativeStack
from tests.browser.hosts import HostSite
from tests.browser.relay import Relay
from tests.doubles.koboldcpp import GenerationParameters, KoboldcppDouble
from tests.integration.proxy.conftest import Proxy, running_proxy

# No limits of their own: a test that wants one makes a site key with it.
UNLIMITED = {
    "VISITOR_REQUESTS_PER_MINUTE": "0",
    "VISITOR_STREAMS": "0",
    "VISITOR_ADDRESS_STREAMS": "0",
    "NEW_VISITORS_PER_HOUR": "0",
}
BOTS = {
    "assistant": "name: Assistant\nsystem: Answer.\nmax_tokens: 4000\n",
    "shop": (
        "name: Lamp shop\nsystem: Answer.\ngreeting: Welcome to the lamp shop.\nmax_tokens: 400\nmax_message: 200\n"
        "quick_replies: ['Where is my order?', 'When are you open?']\nretention_days: 30\n"
        "handoff_email: help@shop.example\ntheme: {accent: '#7a1fa2', accent_text: '#ffffff', position: left}\n"
    ),
    "careful": "name: Careful\nsystem: Answer.\nconsent: What you write is kept for 30 days.\nretention_days: 30\n",
    "keeper": (
        "name: Keeper\nsystem: Answer.\nknowledge: [keeper]\nmode: sources-only\nrefusal: Nothing about this here.\n"
    ),
    # The console's own, so that no other test's documents are in its collection.
    "warden": (
        "name: Warden\nsystem: Answer.\nknowledge: [warden]\nmode: sources-only\nrefusal: Nothing about this here.\n"
    ),
    "polyglot": "name: Polyglot\nsystem: Answer.\nlanguages: [de, fr, es, lv, en]\n",
}


@dataclass
class Stage:
    """All of it; `server` is what pages call, which goes through `relay`."""

    proxy: Proxy
    site: HostSite
    relay: Relay
    site_key: str

    @property
    def server(self) -> str:
        return self.relay.url

    def new_site_key(self, origins: Sequence[str], **options: str) -> str:
        """Made through `make key`'s own words, as {"RPM": "3"}."""
        return site_key(self.proxy, origins, **options)

    def visitor(self, token: str) -> requests.Session:
        """The API with a visitor's token, as the page has it."""
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token}"
        return session

    def messages(self, token: str, conversation: str) -> list[dict[str, Any]]:
        answer = self.visitor(token).get(f"{self.server}/api/v1/conversations/{conversation}?limit=200", timeout=10)
        answer.raise_for_status()
        return list(answer.json()["messages"])

    def idle(self) -> bool:
        """Nobody generates and nobody waits."""
        engine = self.proxy.ready()[1]["engine"]
        return (engine["busy"], engine["waiting"]) == (0, 0)


def site_key(proxy: Proxy, origins: Sequence[str], **options: str) -> str:
    arguments = runpy.run_path(str(ROOT / "scripts" / "key"))["arguments"]
    made = proxy.keys(*arguments({"NAME": "homepage", "ORIGINS": ",".join(origins), **options}))
    found = re.search(r"site_[0-9a-f]{16}", made.stdout)
    assert found, made.stdout + made.stderr
    return found[0]


@contextlib.contextmanager
def staged_proxy(native: NativeStack, folder: Path, engine: KoboldcppDouble, **settings: str) -> Iterator[Proxy]:
    """The proxy in front of a double of koboldcpp: answers are as long, slow and hostile as a test wants."""
    bots = folder / "own-bots"
    bots.mkdir()
    for name, text in BOTS.items():
        (bots / f"{name}.yaml").write_text(text)
    chosen = {
        "ENGINE_API": "koboldcpp",
        "ENGINE_URL": engine.url,
        "ENGINE_SLOTS": "1",
        "ENGINE_FIRST_TOKEN_TIMEOUT": "10",
        "ENGINE_IDLE_TIMEOUT": "10",
        "PROMPT_FORMAT": "raw",
        "BOTS_DIR": str(bots),
        **UNLIMITED,
        **settings,
    }
    with running_proxy(native, folder, **chosen) as running:
        yield running


def continuing(tokens: Sequence[str]) -> Callable[[GenerationParameters], list[str]]:
    """A reply for the double that goes on as a model does: after as much of the text as ends the prompt already."""
    whole = "".join(tokens)

    def reply(parameters: GenerationParameters) -> list[str]:
        said = max((n for n in range(len(whole) + 1) if parameters.prompt.endswith(whole[:n])), default=0)
        left: list[str] = []
        place = 0
        for token in tokens:
            place += len(token)
            if place > said:
                left.append(token[-(place - said) :] if place - said < len(token) else token)
        return left

    return reply


def words(count: int, word: str = "word") -> list[str]:
    """An answer of that many tokens, each one telling its place."""
    return [f"{'' if n == 0 else ' '}{word}{n}" for n in range(count)]
