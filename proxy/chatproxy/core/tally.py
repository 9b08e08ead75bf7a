"""Counts what happens, from the start of this process on. Whoever wants rates looks twice."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from chatproxy.core.measures import FIRST_TOKEN_S, Answer, End
from chatproxy.core.types import now

# Visitors of a day that are told apart; those beyond are not counted any more.
_MOST_VISITORS = 100_000


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values lie in each bucket of FIRST_TOKEN_S (the last has no bound), and their sum in seconds."""

    counts: tuple[int, ...]
    sum_s: float


@dataclass(frozen=True, slots=True)
class Totals:
    """A snapshot. `answers` by end and bot, `requests` by family and status class, as "2xx"."""

    answers: Mapping[tuple[End, str], int]
    requests: Mapping[tuple[str, str], int]
    first_token: Histogram
    waited: Histogram
    prompt_tokens: int
    completion_tokens: int
    visitors: int


class _Buckets:
    def __init__(self) -> None:
        self._counts = [0] * (len(FIRST_TOKEN_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(FIRST_TOKEN_S, seconds)] += 1
        self._sum_s += seconds

    def read(self) -> Histogram:
        return Histogram(tuple(self._counts), self._sum_s)


class Tally:
    """Implements core.measures.Measures."""

    def __init__(self, *, clock: Callable[[], datetime] = now) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: Counter[tuple[End, str]] = Counter()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._first_token, self._waited = _Buckets(), _Buckets()
        self._prompt_tokens = self._completion_tokens = 0
        self._visitors = self._most_waiting = 0
        self._seen: set[int] = set()
        self._day: date | None = None

    def asked(self, visitor: str) -> None:
        """See core.measures.Measures."""
        today, who = self._clock().date(), hash(visitor)  # salted anew in each process: nobody can tell whose it is
        with self._lock:
            if today != self._day:
                self._day = today
                self._seen.clear()
            if who not in self._seen and len(self._seen) < _MOST_VISITORS:
                self._seen.add(who)
                self._visitors += 1

    def queued(self, waiting: int) -> None:
        """See core.measures.Measures."""
        with self._lock:
            self._most_waiting = max(self._most_waiting, waiting)

    def answered(self, answer: Answer) -> None:
        """See core.measures.Measures."""
        with self._lock:
            self._answers[answer.end, answer.bot] += 1
            self._prompt_tokens += answer.prompt_tokens
            self._completion_tokens += answer.completion_tokens
            if answer.waited_s is not None:
                self._waited.add(answer.waited_s)
            if answer.first_token_s is not None:
                self._first_token.add(answer.first_token_s)

    def requested(self, family: str, status: int) -> None:
        """See core.measures.Measures."""
        key = (family, f"{status // 100}xx")
        with self._lock:
            self._requests[key] += 1

    def totals(self) -> Totals:
        """All so far."""
        with self._lock:
            return Totals(
                dict(self._answers),
                dict(self._requests),
                self._first_token.read(),
                self._waited.read(),
                self._prompt_tokens,
                self._completion_tokens,
                self._visitors,
            )

    def most_waiting(self) -> int:
        """The longest queue that a question came to since this was asked last. For one reader."""
        with self._lock:
            most, self._most_waiting = self._most_waiting, 0
            return most
