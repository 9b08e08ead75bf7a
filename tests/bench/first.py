"""The first visitor after a start: its first token with and without warm start, beside that of the visitor after it.

The engine and the proxy are started anew for each of the two; the bot has instructions as a real one has. Named
baseline: the second visitor, for whom the engine has read the same instructions already.
"""

from __future__ import annotations

import time
from pathlib import Path

from scripts.lib.native import NativeStack
from tests.bench.appliance import engine_is_idle, proxy, services
from tests.bench.figures import counted, figure, heading, median
from tests.bench.prefix import Texts
from tests.bench.wire import Wire, is_token

INSTRUCTIONS = 700  # tokens
ANSWER_TOKENS = 4
QUESTIONS = ("When do you open on Sunday?", "Where do I find the boat?", "How much is the blue lamp?")
GOAL_SHARE = 110.0  # per cent of the second visitor's: warm, but for what two measurements differ
_WARM_WITHIN_S = 300.0


def run() -> None:
    rounds = counted("ROUNDS", 3)
    first: dict[str, list[float]] = {"off": [], "on": []}
    second: list[float] = []
    with services("mongo", "engine") as stack:
        system = Texts(stack.engine_url).of(INSTRUCTIONS)
        for number in range(rounds):
            for mode in ("off", "on") if number % 2 else ("on", "off"):
                times = _after_a_start(stack, system, mode)
                first[mode].append(times[0])
                second += times[1:]
    heading(f"first token after a start, instructions of {INSTRUCTIONS} tokens, medians of {rounds} starts each")
    figure("first visitor, WARM_START=off", 1000 * median(first["off"]), "ms")
    figure("first visitor, WARM_START=on", 1000 * median(first["on"]), "ms")
    figure("visitors after the first", 1000 * median(second), "ms")
    figure("first as a share of those after, off", 100 * median(first["off"]) / median(second), "%")
    figure("first as a share of those after, on", 100 * median(first["on"]) / median(second), "%", goal=GOAL_SHARE)


def _after_a_start(stack: NativeStack, system: str, mode: str) -> list[float]:
    """Seconds to the first token, of one visitor after the other."""
    stack.start("engine")
    settings = {"WARM_START": mode, "DEFAULT_BOT": "bench"}
    with proxy(stack, bots={"bench": ANSWER_TOKENS}, system=f'"{system}"', **settings) as running:
        wire = Wire(running.url, running.new_key("chat"))
        if mode == "on":
            _wait_until_warm(running.log, stack.engine_url)
        bodies = ({"message": question, "stream": True, "bot": "bench"} for question in QUESTIONS)
        return [wire.ask("/api/v1/chat", body, is_token).first for body in bodies]


def _wait_until_warm(log: Path, engine_url: str) -> None:
    end = time.monotonic() + _WARM_WITHIN_S
    while "the bot bench is warm" not in log.read_text() or not engine_is_idle(engine_url):
        if time.monotonic() > end:
            raise SystemExit("the engine did not become warm")
        time.sleep(0.1)


if __name__ == "__main__":
    run()
