"""Wrong keys, counted by the address that they come from."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from chatproxy.core.addresses import counted_as

# A person with a mistyped key stays far below; nobody guesses 256 bits at this rate, or at any.
MOST_PER_MINUTE = 30
_WINDOW_S = 60.0
# Addresses counted at most (about 200 bytes each). When there are more, the oldest ones start anew.
_MOST_ADDRESSES = 20_000


class Guesses:
    """Counts in windows of a minute from an address's first wrong key on. In memory, bounded, thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: dict[str, tuple[float, int]] = {}

    def note(self, address: str) -> None:
        """A wrong key has come from `address`."""
        who = counted_as(address)
        if not who:
            return
        with self._lock:
            begun, count = self._window(who)
            # Put in anew, so that the dictionary stays in order of when windows began.
            if not count:
                self._wrong.pop(who, None)
                if len(self._wrong) >= _MOST_ADDRESSES:
                    del self._wrong[next(iter(self._wrong))]
            self._wrong[who] = (begun, count + 1)

    def closed_for(self, address: str) -> int:
        """Seconds for which `address` has used up its wrong keys; 0 when it has not."""
        with self._lock:
            begun, count = self._window(counted_as(address))
            return math.ceil(begun + _WINDOW_S - self._clock()) if count >= MOST_PER_MINUTE else 0

    def _window(self, who: str) -> tuple[float, int]:
        moment = self._clock()
        begun, count = self._wrong.get(who, (moment, 0))
        return (begun, count) if moment < begun + _WINDOW_S else (moment, 0)
