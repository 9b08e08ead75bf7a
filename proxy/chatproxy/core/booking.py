"""Tokens used, written to the UsageStore a moment later than they are told, and known at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chatproxy.core.later import Later
from chatproxy.core.ports import UsageStore
from chatproxy.core.types import now
from chatproxy.errors import StorageUnavailable

_log = logging.getLogger(__name__)
# Counters whose value is kept in memory; beyond that it is read anew when it is asked for.
_MOST_KNOWN = 10_000


@dataclass(slots=True)
class _Unwritten:
    amount: int
    expires_at: datetime


class Booking:
    """Adds to counters of the store on a thread of its own. Thread-safe.

    A counter's value is what the store last said and what has not been written since: nobody waits for the store, and
    what one answer has used counts for the very next question. What another process adds is seen with the next
    booking. Where the store is away, amounts are kept and tried again when the next are told or a value is asked for.
    """

    def __init__(self, store: UsageStore, *, clock: Callable[[], datetime] = now) -> None:
        self._store, self._clock = store, clock
        self._later = Later("booking")
        self._lock = threading.Lock()
        self._known: dict[str, int] = {}
        self._unwritten: dict[str, _Unwritten] = {}
        self._writing = False

    def used(self, counter: str) -> int:
        """The counter's value. Raises StorageUnavailable where it has to be read first and cannot be."""
        self._begin()
        with self._lock:
            known = self._known.get(counter)
            if known is not None:
                return known + self._waiting(counter)
        stored = self._store.read(counter)
        with self._lock:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[counter] = max(stored, self._known.get(counter, 0))
            return known + self._waiting(counter)

    def add(self, counter: str, amount: int, *, expires_at: datetime) -> None:
        """Never raises and never waits."""
        with self._lock:
            unwritten = self._unwritten.setdefault(counter, _Unwritten(0, expires_at))
            unwritten.amount += amount
        self._begin()

    def _begin(self) -> None:
        """See that what is unwritten is being written: one job at a time, which takes along what is told meanwhile."""
        with self._lock:
            if self._writing or not self._unwritten:
                return
            self._writing = True
        self._later.do(self._write)

    def _waiting(self, counter: str) -> int:
        return self._unwritten[counter].amount if counter in self._unwritten else 0

    def _write(self) -> None:
        try:
            while self._write_next():
                pass
        except Exception as error:
            with self._lock:
                self._writing = False
            if not isinstance(error, StorageUnavailable):
                raise
            _log.warning("tokens used are kept until the store is back: %s", error)

    def _write_next(self) -> bool:
        """Write one counter's amount; returns whether there was any."""
        with self._lock:
            moment = self._clock()
            for counter in [name for name, waits in self._unwritten.items() if waits.expires_at <= moment]:
                del self._unwritten[counter]
            if not self._unwritten:
                self._writing = False
                return False
            counter, waits = next(iter(self._unwritten.items()))
            amount = waits.amount
        value = self._store.add(counter, amount, expires_at=waits.expires_at)
        with self._lock:
            self._known[counter] = value
            waits.amount -= amount
            if not waits.amount:
                del self._unwritten[counter]
        return True
