"""What the engine's prompt cache is worth: the fifth turn's first token with eight conversations in turn.

Named baseline: the first token of a prompt of the same length that nobody has read before, through the same proxy.
More conversations than the engine has slots, so that each loses its slot between two turns.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import requests

from tests.bench.appliance import proxy, services
from tests.bench.figures import counted, figure, heading, median
from tests.bench.wire import Answer, Wire, is_token

CONVERSATIONS, TURNS = 8, 5
ANSWER_TOKENS = 16
FIRST_QUESTION_TOKENS = 650  # so that the fifth prompt has more than 700
GOAL_SHARE = 5.0  # per cent of a cold prompt
_WORDS = ("harbour", "lamp", "quiet", "boat", "north", "tide", "paper", "glass", "road", "winter", "green", "stone")


@dataclass
class Talk:
    """One conversation; where its id is None it has not begun."""

    id: str | None = None


class Texts:
    """Made-up text of a given length in the engine's own tokens."""

    def __init__(self, engine_url: str) -> None:
        self._url, self._random = f"{engine_url}/tokenize", random.Random(7)

    def count(self, text: str) -> int:
        return len(requests.post(self._url, json={"content": text}, timeout=30).json()["tokens"])

    def of(self, tokens: int) -> str:
        """Begins unlike any other, so that no cache has read it."""
        words = [f"{self._random.randrange(10**6)}:"]
        while (short := tokens - self.count(" ".join(words))) > 0:
            words += self._random.choices(_WORDS, k=max(1, short // 2))
        return " ".join(words)


def run() -> None:
    rounds = counted("ROUNDS", 2)
    # An extra round of eight has its own proxy and engine: nothing of the one before is in the cache.
    warm: dict[int, list[float]] = {turn: [] for turn in range(2, TURNS + 1)}
    cold: list[float] = []
    tokens = 0
    for _ in range(rounds):
        with services("mongo", "engine") as stack, proxy(stack, bots={"bench": ANSWER_TOKENS}) as running:
            tokens = _round(Wire(running.url, running.new_key("chat")), Texts(stack.engine_url), warm, cold)
    heading(f"first token, {CONVERSATIONS} conversations in turn, medians of {rounds} rounds")
    figure(f"cold prompt of {tokens} tokens", 1000 * median(cold), "ms")
    for turn, times in warm.items():
        figure(f"turn {turn}", 1000 * median(times), "ms")
    figure(f"turn {TURNS} as a share of cold", 100 * median(warm[TURNS]) / median(cold), "%", goal=GOAL_SHARE)


def _round(wire: Wire, texts: Texts, warm: dict[int, list[float]], cold: list[float]) -> int:
    """Measures into `warm` and `cold`, seconds; returns the tokens of a fifth turn's prompt."""
    talks = [Talk() for _ in range(CONVERSATIONS)]
    tokens = overhead = 0
    for turn in range(1, TURNS + 1):
        for number, talk in enumerate(talks):
            question = texts.of(FIRST_QUESTION_TOKENS) if turn == 1 else f"And what about number {number}, part {turn}?"
            answer = _ask(wire, question, talk)
            tokens = int(answer.last_event()["usage"]["prompt_tokens"])
            if turn == 1:
                overhead = tokens - texts.count(question)
            else:
                warm[turn].append(answer.first)
    for _ in range(CONVERSATIONS):
        cold.append(_ask(wire, texts.of(tokens - overhead), Talk()).first)
    return tokens


def _ask(wire: Wire, question: str, talk: Talk) -> Answer:
    where = {"conversation_id": talk.id} if talk.id else {"bot": "bench"}
    answer = wire.ask("/api/v1/chat", {"message": question, "stream": True, **where}, is_token)
    talk.id = answer.last_event()["conversation_id"]
    return answer


if __name__ == "__main__":
    run()
