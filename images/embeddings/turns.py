"""Whose turn it is to compute: one at a time, questions before batches.

A model's library uses every core for one computation; two at once would only fight for them. Long work therefore comes
in steps, each with a turn of its own, and whoever has little to ask waits for one step and not for the whole.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
# A batch waits for so many questions at most before it has a step: it is slowed down then, not stopped.
QUESTIONS_IN_A_ROW = 8


@dataclass(frozen=True)
class State:
    """Batches computed so far and the seconds they took; batches that wait, of questions and of readings."""

    batches: int
    seconds: float
    questions: int
    readings: int


class Turns:
    """Turns in the order in which they were asked for, those of questions first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._questions: deque[object] = deque()
        self._steps: deque[object] = deque()
        self._taken = False
        self._in_a_row = 0
        self._batches, self._seconds = 0, 0.0
        # Always the same thread: the library keeps as many helpers as there are cores for each that calls it.
        self._thread = ThreadPoolExecutor(1, "compute")

    def compute(self, act: Callable[[], T], *, question: bool) -> T:
        """What `act` returns or raises, computed when it is its turn."""
        with self.turn(question=question):
            return self._thread.submit(act).result()

    def state(self) -> State:
        """How it is now."""
        with self._changed:
            return State(self._batches, self._seconds, len(self._questions), len(self._steps))

    @contextmanager
    def turn(self, *, question: bool) -> Iterator[None]:
        """Wait until nobody else computes, and be the one who does."""
        waiting, ticket = (self._questions if question else self._steps), object()
        with self._changed:
            waiting.append(ticket)
            self._changed.wait_for(lambda: not self._taken and self._next() is ticket)
            waiting.popleft()
            self._taken = True
            self._in_a_row = self._in_a_row + 1 if question and self._steps else 0
        begun = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._batches, self._seconds = self._batches + 1, self._seconds + time.monotonic() - begun
                self._taken = False
                self._changed.notify_all()

    def _next(self) -> object:
        step_is_due = self._steps and self._in_a_row >= QUESTIONS_IN_A_ROW
        return self._questions[0] if self._questions and not step_is_due else self._steps[0]
