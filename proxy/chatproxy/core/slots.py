"""The gate in front of the engines: so many generate, so many wait their fair turn, the rest are refused.

Fair between payers: start-time fair queueing (Goyal, Vin, Cheng 1996) with requests as the unit. Each request gets a
tag when it arrives, one further along for each request that its payer has waiting already, and the lowest tag goes
next. So whoever sends fifty requests waits behind itself, and somebody else's single one goes next.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from chatproxy.errors import Busy, Unavailable

# Retry-After (seconds) while no answer has been timed yet, and its bounds.
_FIRST_GUESS_S = 10
_LONGEST_GUESS_S = 600
# Weight of the newest answer in the moving average of how long a slot is held.
_NEWEST = 0.2
# The last quarter of the queue is for payers who do not wait yet: one alone cannot shut the others out.
_OWN_SHARE = 0.75
# Conversations whose engine is remembered, since that one has their prompt in its cache.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class GateStatus:
    """A snapshot: slots in all, slots taken, requests waiting, how many may wait.

    `busy_s` are the seconds that slots were taken, all slots together, since the gate was made. While it is `held`
    nobody is admitted.
    """

    slots: int
    busy: int
    waiting: int
    queue: int = 0
    busy_s: float = 0.0
    held: bool = False


class Gate:
    """Hands out the slots of one or more engines. Thread-safe."""

    def __init__(
        self, slots: int, queue: int, *, engines: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`slots` generate at a time on each engine, `queue` wait; `clock` gives seconds."""
        self._slots, self._queue, self._clock = slots, queue, clock
        self._lock = threading.Lock()
        self._busy = [0] * engines
        self._up = [True] * engines
        self._running: set[Ticket] = set()
        self._waiting: list[Ticket] = []  # in the order in which they are admitted
        self._virtual = 0.0
        self._arrivals = 0
        self._average_s: float | None = None
        self._busy_s, self._changed_at = 0.0, clock()
        self._engine_of: OrderedDict[str, int] = OrderedDict()
        self._held_until, self._turns_away = -math.inf, False

    def enter(self, payer: str, affinity: str = "", *, only: int | None = None) -> Ticket:
        """Take a slot or a place in the queue. Raises Busy when there is neither, Unavailable while all are turned
        away. Use the ticket in a `with`.

        `affinity` names what shares a prompt's beginning (a conversation): of two equally free engines it gets the one
        that it had before. `only` is the number of the one engine that will do.
        """
        with self._lock:
            self._check_open()
            ticket = Ticket(self, payer, affinity, self._next_tag(payer), self._arrivals)
            if only is not None:
                ticket.tried.update(engine for engine in range(len(self._busy)) if engine != only)
            self._arrivals += 1
            self._waiting.append(ticket)
            self._waiting.sort(key=Ticket.order)
            self._admit()
            if ticket.engine is None and not self._may_wait(ticket):
                self._waiting.remove(ticket)
                busy, waiting = sum(self._busy), len(self._waiting)
                raise Busy(f"{busy} generating, {waiting} waiting", retry_after=self._next_place_s())
            return ticket

    def status(self) -> GateStatus:
        with self._lock:
            self._count_busy()
            slots, busy, waiting = self._slots * len(self._busy), sum(self._busy), len(self._waiting)
            return GateStatus(slots, busy, waiting, self._queue, self._busy_s, self._held())

    def set_up(self, engine: int, up: bool) -> None:
        """Whether an engine is given work; while none is, all are tried."""
        with self._lock:
            self._up[engine] = up
            self._admit()

    def hold(self, seconds: float, *, turn_away: bool = False) -> None:
        """Admit nobody for so long, while answers in progress go on and the queue fills; 0 ends it.

        With `turn_away` also those who wait and those who come are told Unavailable: this process is about to end.
        """
        with self._lock:
            self._held_until, self._turns_away = self._clock() + seconds, turn_away
            self._admit()

    def check_open(self) -> None:
        """Raises Unavailable while all are turned away."""
        with self._lock:
            self._check_open()

    def position(self, ticket: Ticket) -> tuple[int, int | None]:
        """Place in the queue (1 = next) and estimated seconds until its turn; (0, 0) when admitted or gone."""
        with self._lock:
            self._admit()  # a hold ends by itself, and whoever waits is who notices
            if ticket not in self._waiting:
                return 0, 0
            place = self._waiting.index(ticket) + 1
            return place, self._eta(place)

    def leave(self, ticket: Ticket) -> None:
        """Give back the slot or the place in the queue, whichever the ticket holds."""
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            elif ticket.engine is not None:
                self._learn(self._clock() - ticket.admitted_at)
                self._free(ticket)
            self._admit()

    def retry(self, ticket: Ticket) -> bool:
        """The ticket's engine has failed: wait, before all others, for one that it has not tried. False = none left."""
        with self._lock:
            if ticket.engine is None or len(ticket.tried) + 1 >= len(self._busy):
                return False
            ticket.tried.add(ticket.engine)
            self._free(ticket)
            ticket.tag = -math.inf
            self._waiting.insert(0, ticket)
            self._admit()
            return True

    def _held(self) -> bool:
        return self._clock() < self._held_until

    def _check_open(self) -> None:
        if self._turns_away and self._held():
            raise Unavailable("turned away while the gate is held")

    def _next_tag(self, payer: str) -> float:
        tags = (ticket.tag for ticket in (*self._waiting, *self._running) if ticket.payer == payer)
        return max(self._virtual, 1 + max(tags, default=-math.inf))

    def _may_wait(self, ticket: Ticket) -> bool:
        """The ticket itself stands in the queue already."""
        if len(self._waiting) > self._queue:
            return False
        own = sum(waiting.payer == ticket.payer for waiting in self._waiting)
        return own == 1 or len(self._waiting) <= math.ceil(self._queue * _OWN_SHARE)

    def _admit(self) -> None:
        """Give free slots to those whose turn it is."""
        if self._held():
            return
        for ticket in list(self._waiting):
            if sum(self._busy) >= self._slots * len(self._busy):
                return
            engine = self._free_engine(ticket)
            if engine is None:
                continue
            self._waiting.remove(ticket)
            # Time moves on by this request's share among all who are here, so that a stream of ever new payers (each
            # of whom begins at the present) cannot hold back those who have waited.
            payers = len({other.payer for other in (*self._waiting, *self._running, ticket)})
            self._virtual = max(self._virtual, ticket.tag) + 1 / (1 + payers)
            self._count_busy()
            self._busy[engine] += 1
            self._running.add(ticket)
            ticket.admitted_at, ticket.engine = self._clock(), engine
            self._remember(ticket.affinity, engine)
            ticket.admitted.set()

    def _free_engine(self, ticket: Ticket) -> int | None:
        """The least loaded engine that this ticket may have now."""
        untried = [engine for engine in range(len(self._busy)) if engine not in ticket.tried]
        usable = [engine for engine in untried if self._up[engine]] or untried
        free = [engine for engine in usable if self._busy[engine] < self._slots]
        before = self._engine_of.get(ticket.affinity)
        return min(free, key=lambda engine: (self._busy[engine], engine != before), default=None)

    def _free(self, ticket: Ticket) -> None:
        if ticket.engine is not None:
            self._count_busy()
            self._busy[ticket.engine] -= 1
            ticket.engine = None
            ticket.admitted.clear()
            self._running.discard(ticket)

    def _count_busy(self) -> None:
        """To be called before the number of slots taken changes, or is told."""
        moment = self._clock()
        self._busy_s += sum(self._busy) * (moment - self._changed_at)
        self._changed_at = moment

    def _remember(self, affinity: str, engine: int) -> None:
        if affinity and len(self._busy) > 1:
            self._engine_of[affinity] = engine
            self._engine_of.move_to_end(affinity)
            if len(self._engine_of) > _REMEMBERED:
                self._engine_of.popitem(last=False)

    def _learn(self, held_s: float) -> None:
        known = held_s if self._average_s is None else self._average_s
        self._average_s = known + _NEWEST * (held_s - known)

    def _eta(self, place: int) -> int | None:
        """Whole rounds of answers in front, and the rest of the running answer that makes the place free."""
        if self._average_s is None or self._held():
            return None
        moment, slots = self._clock(), self._slots * len(self._busy)
        left = sorted(max(0.0, self._average_s - (moment - ticket.admitted_at)) for ticket in self._running)
        rounds, turn = divmod(place - 1, slots)
        rest = left[turn] if turn < len(left) else 0.0
        return min(max(1, math.ceil(rounds * self._average_s + rest)), _LONGEST_GUESS_S)

    def _next_place_s(self) -> int:
        """Seconds until somebody moves up and a place becomes free."""
        eta = self._eta(1)
        return _FIRST_GUESS_S if eta is None else eta


class Ticket:
    """One request's place; leaving the `with` gives it back, however the request ended."""

    def __init__(self, gate: Gate, payer: str, affinity: str, tag: float, arrival: int) -> None:
        self._gate = gate
        self.payer, self.affinity, self.tag, self.arrival = payer, affinity, tag, arrival
        self.admitted = threading.Event()
        self.admitted_at = 0.0
        self.engine: int | None = None
        self.tried: set[int] = set()  # engines that it does not get: those that failed it, or are not meant

    def order(self) -> tuple[float, int]:
        """What the queue is sorted by."""
        return self.tag, self.arrival

    def wait(self, timeout_s: float) -> bool:
        """Wait for the slot; returns whether it is ours, on the engine with the number `engine`.

        Raises Unavailable as Gate.enter does.
        """
        if not self.admitted.is_set():
            self._gate.check_open()
        return self.admitted.wait(timeout_s)

    def position(self) -> tuple[int, int | None]:
        """See Gate.position."""
        return self._gate.position(self)

    def retry(self) -> bool:
        """See Gate.retry."""
        return self._gate.retry(self)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.leave(self)
