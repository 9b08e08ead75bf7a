"""The engine's own tokenizer finds no control token in what people write, nor where it meets the template."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from chatproxy.adapters.gguf import read_model
from chatproxy.core.format_file import read
from chatproxy.core.model_template import decide
from chatproxy.core.models import ModelFacts
from chatproxy.core.neutral import KNOWN_CONTROL
from chatproxy.core.passages import Passage
from chatproxy.core.prompts import BUILT_IN, Formats
from chatproxy.core.types import Bot, Turn
from scripts.lib.native import NativeStack
from tests.unit.proxy.core.test_answer import Stage
from tests.unit.proxy.fakes import FakeBots, FakePassages

FUZZED = 10_000
# Prompts in one request to /tokenize, which gives one list of ids for all of them.
BATCH = 50
BOT = Bot("m", "Mira", system="S", persona="P", greeting="G")
# Not a control string of any family, and one token at most on either side of it.
BETWEEN = "\n\n"


@pytest.fixture(scope="session")
def facts(native: NativeStack) -> ModelFacts:
    found = read_model(native.model)
    assert found is not None
    return found


class Tokenizer:
    """llama.cpp's /tokenize, which reads control strings as the engine reads them in a prompt."""

    def __init__(self, native: NativeStack, facts: ModelFacts) -> None:
        self._url, self._session = f"{native.engine_url}/tokenize", requests.Session()
        self.control = {self.ids(text)[0]: text for text in facts.control}

    def ids(self, text: str) -> list[int]:
        body = {"content": text, "add_special": False, "parse_special": True}
        answer = self._session.post(self._url, json=body, timeout=60)
        answer.raise_for_status()
        return [int(token) for token in answer.json()["tokens"]]

    def control_ids(self, text: str) -> list[int]:
        return [token for token in self.ids(text) if token in self.control]


@pytest.fixture(scope="session")
def tokenizer(native: NativeStack, facts: ModelFacts) -> Tokenizer:
    return Tokenizer(native, facts)


def hostile_texts(facts: ModelFacts, count: int) -> list[str]:
    """Made of whole control strings, their halves, role markers, hidden characters and noise; the same in every run."""
    rng = random.Random(20261121)
    files = [read(path) for path in sorted(BUILT_IN.glob("*.toml"))]
    whole = sorted({*facts.control, *KNOWN_CONTROL, *(string for file in files for string in file.control)})
    halves = [part for text in whole for cut in (1, 2, len(text) // 2, -2, -1) for part in (text[:cut], text[cut:])]
    markers = [marker.replace("{{ name }}", "Mira") for file in files for marker in file.line_markers]
    noise = [*"\n\t \u200b\u2060\ufeff\x00aü你🙂<|>[]", "\r\n"]
    kinds = (facts.control, whole, halves, markers, noise)
    return ["".join(rng.choice(rng.choice(kinds)) for _ in range(rng.randint(1, 12))) for _ in range(count)]


def test_the_engine_takes_control_strings_for_control_tokens(tokenizer: Tokenizer, facts: ModelFacts) -> None:
    """Without this the tests below would prove nothing."""
    assert len(tokenizer.control) == len(facts.control) == 17
    for text in facts.control:
        assert len(tokenizer.control_ids(f"a{text}b")) == 1, text


def test_ten_thousand_hostile_texts_give_no_control_token(tokenizer: Tokenizer, facts: ModelFacts) -> None:
    texts = hostile_texts(facts, FUZZED)
    chatml = Formats(model=facts).get("chatml")
    found: list[str] = []
    untouched = 0
    for at in range(0, FUZZED, BATCH):
        untouched += len(tokenizer.control_ids(BETWEEN.join(texts[at : at + BATCH])))
        safe = [chatml.neutral(BOT, text) for text in texts[at : at + BATCH]]
        if tokenizer.control_ids(BETWEEN.join(safe)):
            found += [text for text in safe if tokenizer.control_ids(text)]
    told = f"{len(found)} of {FUZZED} texts gave control tokens (untouched: {untouched} tokens), as {found[:3]!r}"
    assert not found, told
    assert untouched > FUZZED, told


def asked_with(bot: Bot, passages: Sequence[Passage]) -> str:
    """The prompt of a question to which these passages were found."""
    stage = Stage(bots=FakeBots(bot), passages=FakePassages(*passages), context=1_000_000)
    stage.done("What is said about it?")
    return stage.engine.generations[-1].prompt


@pytest.mark.parametrize("name", sorted(Formats().names))
def test_passages_of_hostile_texts_have_the_control_tokens_of_harmless_ones(
    tokenizer: Tokenizer, facts: ModelFacts, name: str
) -> None:
    """Titles, headings and texts of pages alike: a page cannot end the question's turn or begin another one."""
    bot = Bot("assistant", "Assistant", system="S", format=name, knowledge=("site",))
    texts = iter(hostile_texts(facts, 1200))
    harmless = [Passage(str(n), "d", 2 * n, "harmless", ("title", "heading"), "https://a.example/") for n in range(5)]
    expected = tokenizer.control_ids(asked_with(bot, harmless))
    for _ in range(80):
        hostile = [replace(each, text=next(texts), path=(next(texts), next(texts))) for each in harmless]
        prompt = asked_with(bot, hostile)
        assert all(f"[{number}]" in prompt for number in range(1, 6))
        assert tokenizer.control_ids(prompt) == expected


def turns(said: Sequence[str]) -> list[Turn]:
    return [Turn("assistant" if number % 2 else "user", text) for number, text in enumerate(said)]


@pytest.mark.parametrize("name", [*sorted(Formats().names), "own template"])
def test_a_conversation_of_hostile_texts_has_the_control_tokens_of_a_harmless_one(
    tokenizer: Tokenizer, facts: ModelFacts, name: str, tmp_path: Path
) -> None:
    """In every format, and in the model's own template: nothing forms between text and template either."""
    if name == "own template":
        shutil.copy(BUILT_IN / "raw.toml", tmp_path)  # no format that would be recognised in it
        prompt_format = decide(Formats(model=facts, built_in=tmp_path), facts, "SmolLM2")
        assert prompt_format.name == "auto"
    else:
        prompt_format = Formats(model=facts).get(name)
    texts = hostile_texts(facts, 303)
    for at in range(0, len(texts), 101):
        said = texts[at : at + 101]
        hostile = tokenizer.control_ids(prompt_format.render(BOT, turns(said)).text)
        harmless = tokenizer.control_ids(prompt_format.render(BOT, turns(["harmless"] * len(said))).text)
        assert hostile == harmless, f"{len(hostile)} control tokens instead of {len(harmless)}"
