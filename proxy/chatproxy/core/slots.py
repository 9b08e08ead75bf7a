"""The gate in front of the engine: so many generate, so many wait in order of arrival, the rest are refused."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from chatproxy.errors import Busy

# Retry-After (seconds) while no answer has been timed yet, and its bounds.
_FIRST_GUESS_S = 10
_LONGEST_GUESS_S = 600
# Weight of the newest answer in the moving average of how long a slot is held.
_NEWEST = 0.2


@dataclass(frozen=True, slots=True)
class GateStatus:
    """A snapshot: slots in all, slots taken, requests waiting."""

    slots: int
    busy: int
    waiting: int


class Gate:
    """First come, first served. Thread-safe."""

    def __init__(self, slots: int, queue: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`slots` generate at a time, `queue` wait; `clock` gives seconds."""
        self._slots, self._queue, self._clock = slots, queue, clock
        self._lock = threading.Lock()
        self._busy = 0
        self._waiting: deque[Ticket] = deque()
        self._average_s: float | None = None

    def enter(self) -> Ticket:
        """Take a slot or a place in the queue. Raises Busy when there is neither. Use the ticket in a `with`."""
        with self._lock:
            ticket = Ticket(self)
            if self._busy < self._slots:
                self._admit(ticket)
            elif len(self._waiting) < self._queue:
                self._waiting.append(ticket)
            else:
                eta = self._eta(len(self._waiting) + 1)
                raise Busy(f"{self._busy} generating, {len(self._waiting)} waiting", retry_after=eta or _FIRST_GUESS_S)
            return ticket

    def status(self) -> GateStatus:
        with self._lock:
            return GateStatus(self._slots, self._busy, len(self._waiting))

    def position(self, ticket: Ticket) -> tuple[int, int | None]:
        """Place in the queue (1 = next) and estimated seconds until its turn; (0, 0) when admitted or gone."""
        with self._lock:
            if ticket not in self._waiting:
                return 0, 0
            place = self._waiting.index(ticket) + 1
            return place, self._eta(place)

    def leave(self, ticket: Ticket) -> None:
        """Give back the slot or the place in the queue, whichever the ticket holds."""
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            elif ticket.admitted_at is not None:
                self._learn(self._clock() - ticket.admitted_at)
                ticket.admitted_at = None
                self._busy -= 1
                if self._waiting:
                    self._admit(self._waiting.popleft())

    def _admit(self, ticket: Ticket) -> None:
        self._busy += 1
        ticket.admitted_at = self._clock()
        ticket.admitted.set()

    def _learn(self, held_s: float) -> None:
        known = held_s if self._average_s is None else self._average_s
        self._average_s = known + _NEWEST * (held_s - known)

    def _eta(self, place: int) -> int | None:
        if self._average_s is None:
            return None
        return min(max(1, math.ceil(self._average_s * place / self._slots)), _LONGEST_GUESS_S)


class Ticket:
    """One request's place; leaving the `with` gives it back, however the request ended."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.admitted = threading.Event()
        self.admitted_at: float | None = None

    def wait(self, timeout_s: float) -> bool:
        """Wait for the slot; returns whether it is ours."""
        return self.admitted.wait(timeout_s)

    def position(self) -> tuple[int, int | None]:
        """See Gate.position."""
        return self._gate.position(self)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.leave(self)
