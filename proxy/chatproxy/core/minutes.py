"""Writes what is counted into the MinuteStore: what has come, every ten seconds, so that a crash loses no more.

While the store is away figures are kept for up to a day and added when it is back. Where a connection breaks in the
middle of a write, ten seconds may be counted twice or not at all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from chatproxy.core.measures import ANSWERED, Figures, MinuteStore
from chatproxy.core.slots import GateStatus
from chatproxy.core.tally import Tally, Totals
from chatproxy.core.types import now
from chatproxy.errors import StorageUnavailable

_log = logging.getLogger(__name__)
_EVERY_S = 10.0
# Minutes that wait for a store that is away.
_MOST_UNWRITTEN = 24 * 60
# How long the end of the process waits for the last write.
_LAST_WRITE_S = 5.0
# What machines ask all day long, and nobody means by "requests".
_ASIDE = frozenset(("health", "metrics"))


class Minutes:
    """Takes the difference of two looks at the tally for what happened in between. One for each process."""

    def __init__(
        self,
        store: MinuteStore,
        tally: Tally,
        gate: Callable[[], GateStatus],
        *,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """`gate` tells how busy the engine is."""
        self._store, self._tally, self._gate, self._clock = store, tally, gate, clock
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="minutes", daemon=True)
        self._before, self._busy_s = tally.totals(), gate().busy_s
        self._looked_at = clock()
        self._unwritten: dict[datetime, Figures] = {}
        self._away = False

    def start(self) -> None:
        """Begin to write, on a thread of its own that nobody has to wait for."""
        self._thread.start()

    def stop(self) -> None:
        """Write what there is and end; takes a few seconds at most, whatever the store does."""
        self._ending.set()
        self._thread.join(_LAST_WRITE_S)

    def write(self) -> None:
        """Take what has come since the last time, and add it to the store. Never raises StorageUnavailable."""
        moment = self._clock()
        # By its middle: a look that comes a little early or late must not move it into another minute.
        middle = self._looked_at + (moment - self._looked_at) / 2
        self._looked_at = moment
        figures = self._since_last_look()
        if figures != Figures():
            minute = middle.replace(second=0, microsecond=0)
            self._unwritten[minute] = self._unwritten.get(minute, Figures()).plus(figures)
        while len(self._unwritten) > _MOST_UNWRITTEN:
            self._unwritten.pop(min(self._unwritten))
        self._write_all()

    def _run(self) -> None:
        while not self._ending.wait(_EVERY_S - self._clock().timestamp() % _EVERY_S):
            self._write_safely()
        self._write_safely()

    def _write_safely(self) -> None:
        try:
            self.write()
        except Exception as error:  # one defect must not end all measuring; its text could hold anything
            _log.error("internal_error: the minute could not be written: %s", type(error).__name__)

    def _since_last_look(self) -> Figures:
        status = self._gate()
        totals, before = self._tally.totals(), self._before
        busy_s = status.busy_s - self._busy_s
        self._before, self._busy_s = totals, status.busy_s
        waiting = max(self._tally.most_waiting(), status.waiting)
        return _difference(totals, before, waiting, busy_s)

    def _write_all(self) -> None:
        for minute in sorted(self._unwritten):
            try:
                self._store.add(minute, self._unwritten[minute])
            except StorageUnavailable as error:
                if not self._away:
                    _log.warning("the minutes' figures are kept until the store is back: %s", error)
                self._away = True
                return
            del self._unwritten[minute]
        self._away = False


def _difference(after: Totals, before: Totals, waiting: int, busy_s: float) -> Figures:
    def ended(*ends: str) -> int:
        return sum(count - before.answers.get(key, 0) for key, count in after.answers.items() if key[0] in ends)

    def requests(*classes: str) -> int:
        return sum(
            count - before.requests.get(key, 0)
            for key, count in after.requests.items()
            if key[0] not in _ASIDE and (not classes or key[1] in classes)
        )

    counts = zip(after.first_token.counts, before.first_token.counts, strict=True)
    return Figures(
        requests=requests(),
        errors=requests("5xx"),
        answers=ended(*ANSWERED),
        cancelled=ended("cancelled"),
        failed=ended("failed"),
        refused=ended("refused"),
        prompt_tokens=after.prompt_tokens - before.prompt_tokens,
        completion_tokens=after.completion_tokens - before.completion_tokens,
        visitors=after.visitors - before.visitors,
        waiting=waiting,
        busy_s=busy_s,
        first_token=tuple(count - then for count, then in counts),
    )
