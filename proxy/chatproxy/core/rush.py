"""A rush of new questions must not hold up the answers that are running.

To make a question ready (look-ups, prompt, storing) takes the interpreter for milliseconds, a token takes it for a few
hundredths of one. When hundreds of questions come within a second, few at a time are made ready; the others wait, which
costs nothing, instead of all taking turns with the streams.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_AT_ONCE = 3
# Whoever waits longer goes ahead anyway: those in front may be stuck with a database or engine that does not answer.
_PATIENCE_S = 2.0


class Rush:
    """Lets few through at a time, in the order in which they come. Thread-safe."""

    def __init__(self, at_once: int = _AT_ONCE, patience_s: float = _PATIENCE_S) -> None:
        self._turns = threading.Semaphore(at_once)
        self._patience_s = patience_s

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, but not for ever, and have it for as long as the `with` lasts."""
        taken = self._turns.acquire(timeout=self._patience_s)
        try:
            yield
        finally:
            if taken:
                self._turns.release()
