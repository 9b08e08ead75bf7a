"""Several visitors at once: tokens per second of all together, and how long each waits for its first.

Named baseline: the same orders sent to the bare engine, in the same round. More visitors than slots wait their turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from tests.bench.appliance import proxy, services
from tests.bench.figures import counted, figure, heading, median
from tests.bench.wire import Answer, Wire, is_completion, is_token
from tests.doubles.paced_engine import PacedEngine

SLOTS = 4
AT_ONCE = (1, 2, 4, 8)
TOKENS = 96
# The four of them together against one alone, with llama.cpp.
GOAL_GAIN = 1.5
_SUBJECTS = ("a lighthouse", "an old boat", "the first snow", "a glass harbour", "two pilots", "a fox", "salt", "tides")
Ask = Callable[[str], Answer]
# Tokens per second of all together, from the first request to the last answer's end; seconds to each first token.
Rate = tuple[float, list[float]]


def run() -> None:
    rounds = counted("ROUNDS", 3)
    with services("mongo", "engine", slots=SLOTS) as stack:
        with PacedEngine(rate=0, tokens=4) as seen, proxy(stack, bots={"bench": TOKENS}, ENGINE_URL=seen.url) as first:
            client = first.as_("chat")
            client.chat(_question("SUBJECT"), bot="bench").raise_for_status()
            order = dict(requests.get(f"{seen.url}/seen", timeout=5).json())
        with proxy(stack, bots={"bench": TOKENS}) as running:

            def directly(subject: str) -> Answer:
                prompt = order["prompt"].replace("SUBJECT", subject)
                return Wire(stack.engine_url).ask("/v1/completions", {**order, "prompt": prompt}, is_completion)

            def proxied(subject: str) -> Answer:
                body: dict[str, Any] = {"message": _question(subject), "stream": True, "bot": "bench"}
                return Wire(running.url, client.key).ask("/api/v1/chat", body, is_token)

            ways: dict[str, Ask] = {"bare engine": directly, "through the proxy": proxied}
            measured: dict[str, dict[int, list[Rate]]] = {name: {count: [] for count in AT_ONCE} for name in ways}
            for number in range(rounds + 1):
                for count in AT_ONCE:
                    for name, ask in ways.items():
                        rate = _together(ask, count)
                        if number:  # the first round warms up
                            measured[name][count].append(rate)
    heading(f"answers of {TOKENS} tokens, {SLOTS} slots, medians of {rounds} rounds")
    for name, counts in measured.items():
        for count, rates in counts.items():
            figure(f"{name}: {count} at once", median(rate for rate, _ in rates), "tokens/s in all")
            firsts = sorted(first for _, each in rates for first in each)
            figure("  first token, median", 1000 * median(firsts), "ms")
            figure("  first token, last of all", 1000 * firsts[-1], "ms")
        gains = [four[0] / one[0] for one, four in zip(counts[1], counts[4], strict=True)]
        figure(f"{name}: 4 at once against one", median(gains), "times", least=GOAL_GAIN, digits=2)
    for count in AT_ONCE:
        both = zip(measured["bare engine"][count], measured["through the proxy"][count], strict=True)
        figure(f"lost by the proxy, {count} at once", 100 * median(1 - p[0] / b[0] for b, p in both), "%", digits=2)


def _question(subject: str) -> str:
    return f"Write a very long story about {subject}. Use at least two thousand words."


def _together(ask: Ask, count: int) -> Rate:
    begun = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(ask, _SUBJECTS[:count]))
    took = time.perf_counter() - begun
    tokens = sum(int(answer.last_event()["usage"]["completion_tokens"]) for answer in answers)
    return tokens / took, [answer.first for answer in answers]


if __name__ == "__main__":
    run()
