"""Warm start with the real engine: what the first visitor's prompt costs, by the engine's own count."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Client, running_proxy, until

SLOTS = 4
# What a short first question and the format around it come to, in tokens; a bot's instructions are far longer.
MOST_READ, INSTRUCTIONS = 30, 100
WORDS = ("harbour", "lamp", "quiet", "boat", "north", "tide", "paper", "glass", "road", "winter", "green", "stone")
# llama.cpp's log, for each prompt.
READ = re.compile(r"prompt eval time = .* ms /\s+(\d+) tokens")
QUESTIONS = ("Where is it?", "How much?", "When do you open?")


@dataclass(frozen=True)
class Appliance:
    """An engine of its own, whose slots nobody else uses, and bots for a proxy in front of it."""

    native: NativeStack
    own: NativeStack
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        bots = {"BOTS_DIR": str(self.folder / "own-bots"), "DEFAULT_BOT": "first"}
        return {"ENGINE_URL": self.own.engine_url, "ENGINE_SLOTS": str(SLOTS), "CONTEXT_SIZE": "1024", **bots}

    def write(self, bot: str, seed: int) -> None:
        text = " ".join(random.Random(seed).choices(WORDS, k=INSTRUCTIONS))
        file = self.folder / "own-bots" / f"{bot}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"name: {bot}\nsystem: {text}\ngreeting: Ahoy!\nsampling: factual\nmax_tokens: 4\n")

    def used_slots(self) -> int:
        """How many of the engine's slots have read anything and have nothing to do."""
        slots = requests.get(f"{self.own.engine_url}/slots", timeout=30).json()
        return sum("id_task" in slot and not slot["is_processing"] for slot in slots)

    def prompts(self) -> list[int]:
        """Tokens of each prompt that the engine had to read, by its own log."""
        return [int(tokens) for tokens in READ.findall(self.own.log("engine").read_text())]

    def asked(self, client: Client, bot: str, *questions: str) -> list[int]:
        """Tokens that the engine had to read for so many first questions that come at once."""
        before = len(self.prompts())

        def ask(question: str) -> None:
            client.chat(question, bot=bot, conversation_id=None).raise_for_status()

        threads = [threading.Thread(target=ask, args=(question,)) for question in questions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: len(self.prompts()) == before + len(questions))
        return self.prompts()[before:]


@pytest.fixture
def appliance(native: NativeStack, starter_model: Path, tmp_path: Path) -> Iterator[Appliance]:
    own = NativeStack(tmp_path, starter_model, slots=SLOTS, context_size=1024)
    made = Appliance(native, own, tmp_path)
    made.write("first", 1)
    made.write("second", 2)
    try:
        own.start("engine")
        yield made
    finally:
        own.close()


def test_first_visitors_find_the_engine_warm(appliance: Appliance) -> None:
    """After a start, after a bot was changed, after the engine's end; without it they wait for every token."""
    with running_proxy(appliance.native, appliance.folder, **appliance.settings) as proxy:
        (cold,) = appliance.asked(proxy.as_(), "first", "Where is it?")
    assert cold > INSTRUCTIONS
    appliance.own.start("engine")
    with running_proxy(appliance.native, appliance.folder, WARM_START="on", **appliance.settings) as proxy:
        client = proxy.as_()
        # Every slot has been used: first visitors may come together.
        until(lambda: appliance.used_slots() == SLOTS, 60)
        assert max(appliance.asked(client, "first", *QUESTIONS)) <= MOST_READ
        assert max(appliance.asked(client, "second", "Where is it?")) <= MOST_READ

        appliance.write("second", 3)
        until(lambda: proxy.log.read_text().count("the bot second is warm") == 2, 60)
        until(lambda: proxy.log.read_text().count("the bot first is warm") == 2, 60)
        assert max(appliance.asked(client, "second", "How much?")) <= MOST_READ

        appliance.own.stop("engine", kill=True)
        appliance.own.start("engine")
        until(lambda: appliance.used_slots() == SLOTS, 60)
        assert max(appliance.asked(client, "second", "When?")) <= MOST_READ
        assert max(appliance.asked(client, "first", "When?")) <= MOST_READ
        log = proxy.log.read_text()
    assert not any(word in log for word in ("harbour", "Ahoy", "ERROR", "could not be warmed"))
