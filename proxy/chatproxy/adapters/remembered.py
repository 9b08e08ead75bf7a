"""A value that is read over the network, by one thread at a time, and remembered; failures too, for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
# Long enough for those who waited behind a failed read to fail with it instead of trying one after another.
_FAILURE_LASTS_S = 2.0


class Remembered(Generic[T]):
    """Thread-safe. `read` gives the value or raises; a value counts for `lasts_s` seconds."""

    def __init__(
        self, read: Callable[[], T], *, lasts_s: float = float("inf"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read, self._lasts_s, self._clock = read, lasts_s, clock
        self._lock = threading.Lock()
        self._known: tuple[float, T] | None = None
        self._failed: tuple[float, Exception] | None = None

    def put(self, value: T) -> None:
        """Remember what was learnt in another way."""
        self._known = (self._clock(), value)

    def get(self) -> T:
        """The value, read now or not long ago. Raises what `read` raises."""
        known = self._known
        if known and self._clock() - known[0] <= self._lasts_s:
            return known[1]
        with self._lock:
            if self._known and self._clock() - self._known[0] <= self._lasts_s:
                return self._known[1]
            if self._failed and self._clock() - self._failed[0] <= _FAILURE_LASTS_S:
                raise self._failed[1]
            try:
                self._known = (self._clock(), self._read())
            except Exception as error:
                self._failed = (self._clock(), error)
                raise
            return self._known[1]
