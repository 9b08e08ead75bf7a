"""The engine by the clock speaks what the proxy's own adapter reads, at the pace that it was given."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import requests

from chatproxy.adapters.openai_engine import OpenAiEngine
from chatproxy.core.types import Finish, Generation, Text
from tests.doubles.paced_engine import PacedEngine, answer


@pytest.fixture(scope="module")
def paced() -> Iterator[PacedEngine]:
    with PacedEngine(first_token_s=0.1, rate=50, tokens=20) as engine:
        yield engine


def processing(engine: PacedEngine) -> int:
    slots = requests.get(f"{engine.url}/slots", timeout=5).json()
    return sum(slot["is_processing"] for slot in slots)


def test_the_adapter_reads_its_answer(paced: PacedEngine) -> None:
    events = list(OpenAiEngine(paced.url, model="m").generate(Generation("Hi #a#", 12)))
    text = "".join(event.text for event in events if isinstance(event, Text))
    assert text.strip() == answer("a", 12)
    assert events[-1] == Finish("length", 2, 12)
    sent = requests.get(f"{paced.url}/sent/a", timeout=5).json()["sha256"]
    assert sent == hashlib.sha256(text.encode()).hexdigest()
    assert requests.get(f"{paced.url}/seen", timeout=5).json()["max_tokens"] == 12


def test_the_adapter_counts_tokens_and_finds_the_context(paced: PacedEngine) -> None:
    engine = OpenAiEngine(paced.url, model="m")
    assert (engine.count_tokens("123456789"), engine.context_size()) == (3, 4096)
    engine.check()


def test_it_never_comes_early(paced: PacedEngine) -> None:
    begun = time.monotonic()
    times = []
    for event in OpenAiEngine(paced.url, model="m").generate(Generation("Hi", 11)):
        if isinstance(event, Text):
            times.append(time.monotonic() - begun)
    assert times[0] >= 0.1
    assert times[-1] - times[0] >= 10 / 50 - 0.02


def test_it_stops_when_the_client_leaves(paced: PacedEngine) -> None:
    with closing(OpenAiEngine(paced.url, model="m").generate(Generation("Hi", 20))) as events:
        next(events)
        assert processing(paced) == 1
    end = time.monotonic() + 2
    while processing(paced) and time.monotonic() < end:
        time.sleep(0.01)
    assert processing(paced) == 0


def test_it_speaks_chat_completions_too(paced: PacedEngine) -> None:
    body = {"messages": [{"role": "user", "content": "Hi #b#"}], "stream": True, "max_tokens": 3}
    lines = requests.post(f"{paced.url}/v1/chat/completions", json=body, timeout=10).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    choices = [choice for line in lines[:-2] for choice in json.loads(line[6:])["choices"]]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == " b.0 b.1 b.2"
    assert choices[-1]["finish_reason"] == "length"


def test_killed_and_started_again_it_has_the_same_address() -> None:
    with PacedEngine(rate=0, tokens=500) as engine:
        url = engine.url
        engine.kill()
        engine.start()
        assert engine.url == url
        events = list(OpenAiEngine(url, model="m").generate(Generation("Hi", 500)))
        assert len([event for event in events if isinstance(event, Text)]) == 500
