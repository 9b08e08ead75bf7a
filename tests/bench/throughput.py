"""Tokens per second of one long stream, through the proxy and directly from its engine, in turn.

Counted between the first and the last token that the client got, so that what comes before is latency's matter.
Named baselines: llama.cpp's server with SmolLM2-135M, and the same protocol by the clock, fast and unbounded.
"""

from __future__ import annotations

from typing import Any

import requests

from tests.bench.appliance import proxy, services
from tests.bench.figures import counted, figure, heading, median
from tests.bench.wire import Answer, Wire, is_completion, is_token
from tests.doubles.paced_engine import PacedEngine
from tests.integration.proxy.conftest import STORY, Client

GOAL_LOSS = 1.0  # per cent
TOKENS = 1000
RATE = 1000.0  # tokens per second; far more than a CPU generates


def run() -> None:
    rounds = counted("ROUNDS", 10)
    with (
        services("mongo", "engine") as stack,
        PacedEngine(rate=RATE, tokens=TOKENS) as paced,
        PacedEngine(rate=0, tokens=TOKENS) as unbounded,
    ):
        engines = {
            "llama.cpp": (stack.engine_url, GOAL_LOSS),
            f"paced, {RATE:.0f} tokens/s": (paced.url, GOAL_LOSS),
            "as fast as it is read": (unbounded.url, None),
        }
        with proxy(stack, bots={"bench": TOKENS}, ENGINE_URL=paced.url) as first:
            client = first.as_("chat")
            order = _order(client, paced)
        for name, (url, goal) in engines.items():
            with proxy(stack, bots={"bench": TOKENS}, ENGINE_URL=url) as running:
                heading(f"one long stream: {name}, medians of {rounds} paired rounds")
                _measure(Wire(url), order, Wire(running.url, client.key), rounds, goal)


def _order(client: Client, paced: PacedEngine) -> dict[str, Any]:
    """What the proxy orders from its engine for STORY, as the engine saw it."""
    client.chat(STORY, bot="bench").raise_for_status()
    return dict(requests.get(f"{paced.url}/seen", timeout=5).json())


def _measure(bare: Wire, order: dict[str, Any], through: Wire, rounds: int, goal: float | None) -> None:
    rates: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        direct = _rate(bare.ask("/v1/completions", order, is_completion))
        body = {"message": STORY, "stream": True, "bot": "bench"}
        proxied = _rate(through.ask("/api/v1/chat", body, is_token))
        if number:  # the first round warms up
            rates.append((direct, proxied))
    figure("bare engine", median(direct for direct, _ in rates), "tokens/s")
    figure("through the proxy", median(proxied for _, proxied in rates), "tokens/s")
    losses = [100 * (1 - proxied / direct) for direct, proxied in rates]
    figure("lost, median of the rounds", median(losses), "%", goal=goal, digits=2)
    figure("  in the best round", min(losses), "%", digits=2)
    figure("  in the worst round", max(losses), "%", digits=2)


def _rate(answer: Answer) -> float:
    """Tokens as the engine counted them: pieces may be joined on the way."""
    tokens = int(answer.last_event()["usage"]["completion_tokens"])
    if tokens < 100:
        raise SystemExit(f"an answer of {tokens} tokens is too short to be timed")
    return (tokens - 1) / (answer.tokens[-1] - answer.first)


if __name__ == "__main__":
    run()
