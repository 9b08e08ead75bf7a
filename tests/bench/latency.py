"""What the proxy adds to the bare engine: until the first token, and over the whole call.

Paired: each round asks the engine directly and through the proxy, in turn, over open connections, with the same prompt
and sampling. The proxy's side has everything on: a key, a conversation of five turns read from the database, a
prompt so long that the window has its tokens counted, question and answer stored.

Named baselines: llama.cpp's server with SmolLM2-135M, its own `/v1/completions`; the same protocol spoken by the clock
(tests/doubles/paced_engine.py), where only the proxy varies; LiteLLM's proxy, which keeps no conversations, beside
that same engine's `/v1/chat/completions`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from scripts.lib.native import NativeStack
from tests.bench import litellm
from tests.bench.appliance import SYSTEM, proxy, services
from tests.bench.figures import counted, heading, pairs
from tests.bench.wire import Answer, Wire, is_chat_completion, is_completion, is_token
from tests.doubles.paced_engine import PacedEngine
from tests.integration.proxy.conftest import Client

WARM_UP = 5  # rounds that fill caches and are not counted
TURNS, TOKENS = 5, 16
QUESTION = "#now# Name three colours."
# About 800 bytes: five of them and their answers are more bytes than the window has tokens left, so it must count.
_EARLIER = "#then# Tell me about the harbour. " + "The harbour was quiet and the boats came in one by one. " * 14
# Both in milliseconds.
GOAL_P50, GOAL_P99 = 3.0, 10.0
Ask = Callable[[], Answer]


@dataclass(frozen=True)
class Subject:
    """What both sides of a comparison read: the engine's own order for QUESTION, and the same as chat messages."""

    completion: dict[str, Any]
    chat: dict[str, Any]


def run() -> None:
    with (
        services("mongo", "engine") as stack,
        PacedEngine(first_token_s=0.005, rate=1000, tokens=TOKENS) as paced,
        proxy(stack, bots={"bench": TOKENS}, ENGINE_URL=paced.url) as on_paced,
        proxy(stack, bots={"bench": TOKENS}) as on_real,
    ):
        client = on_paced.as_("chat")
        subject = _subject(client, paced)
        upstreams = {
            "paced": (paced.url, on_paced.url, counted("ROUNDS", 300)),
            "llama.cpp": (stack.engine_url, on_real.url, counted("ROUNDS", 300) // 5),
        }
        for name, (engine, ours, rounds) in upstreams.items():
            heading(f"the proxy beside its engine: {name}")
            bare = Wire(engine)
            through = Wire(ours, client.key)

            def directly(bare: Wire = bare) -> Answer:
                return bare.ask("/v1/completions", subject.completion, is_completion)

            def proxied(through: Wire = through) -> Answer:
                # A conversation of its own for each question: all prompts are the same to the last byte.
                body = {"message": QUESTION, "stream": True, "conversation_id": _conversation(client)}
                return through.ask("/api/v1/chat", body, is_token)

            _compare(directly, proxied, rounds, p50=GOAL_P50, p99=GOAL_P99)
        _neighbour(stack, {name: (engine, rounds) for name, (engine, _, rounds) in upstreams.items()}, subject)


def _compare(bare: Ask, other: Ask, rounds: int, *, p50: float | None, p99: float | None) -> None:
    results: list[tuple[Answer, Answer]] = []
    for number in range(rounds + WARM_UP):
        # Turns are taken, so that neither always finds what the other left in the caches.
        first, second = (bare, other) if number % 2 else (other, bare)
        one, two = first(), second()
        if number >= WARM_UP:
            results.append((one, two) if number % 2 else (two, one))
    firsts = [one.first for one, _ in results], [two.first for _, two in results]
    wholes = [one.whole for one, _ in results], [two.whole for _, two in results]
    pairs("first token", *firsts, p50=p50, p99=p99)
    pairs("whole call, stored answer included", *wholes, p50=None, p99=None)


def _conversation(client: Client) -> str:
    """A new conversation of TURNS turns; its engine answers by the clock, so that it is always the same text."""
    known: dict[str, str] = {}
    for _ in range(TURNS):
        fields = {"conversation_id": known["conversation_id"]} if known else {"bot": "bench"}
        answer = client.chat(_EARLIER, **fields)
        answer.raise_for_status()
        known = answer.json()
    return known["conversation_id"]


def _subject(client: Client, paced: PacedEngine) -> Subject:
    """What the proxy orders from its engine for QUESTION, as the engine saw it."""
    conversation_id = _conversation(client)
    client.chat(QUESTION, conversation_id=conversation_id).raise_for_status()
    completion = requests.get(f"{paced.url}/seen", timeout=5).json()
    told = client.conversation(conversation_id)["messages"][: 2 * TURNS + 1]
    messages = [{"role": "system", "content": SYSTEM}] + [{"role": m["role"], "content": m["text"]} for m in told]
    return Subject(completion, {"messages": messages, "max_tokens": TOKENS, "temperature": 0, "stream": True})


def _neighbour(stack: NativeStack, upstreams: dict[str, tuple[str, int]], subject: Subject) -> None:
    try:
        with litellm.running(stack.data, {name: engine for name, (engine, _) in upstreams.items()}) as url:
            through = Wire(url, litellm.KEY)
            for name, (engine, rounds) in upstreams.items():
                heading(f"LiteLLM {litellm.VERSION} beside the same engine: {name}")
                bare, chat = Wire(engine), {**subject.chat, "model": name}

                def directly(bare: Wire = bare, chat: dict[str, Any] = chat) -> Answer:
                    return bare.ask("/v1/chat/completions", chat, is_chat_completion)

                def proxied(chat: dict[str, Any] = chat) -> Answer:
                    return through.ask("/v1/chat/completions", chat, is_chat_completion)

                _compare(directly, proxied, rounds, p50=None, p99=None)
    except litellm.NotInstalled as error:
        print(f"  LiteLLM is left out: {error}")


if __name__ == "__main__":
    run()
