"""What may happen so many times in an hour: counted in the UsageStore, in windows that begin with each full hour."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from chatproxy.core.ports import UsageStore
from chatproxy.core.types import now
from chatproxy.errors import RateLimited

_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)
_EPOCH = datetime.fromtimestamp(0, UTC)
# Refusals remembered at most; beyond that the store is asked again.
_MOST_REMEMBERED = 10_000


class Hourly:
    """Counts one kind of thing. Thread-safe."""

    def __init__(self, store: UsageStore, what: str, most: int, *, clock: Callable[[], datetime] = now) -> None:
        """`what` names the counters; `most` of it in an hour, 0 = no limit."""
        self._store, self._what, self._most, self._clock = store, what, most, clock
        self._lock = threading.Lock()
        self._used_up: set[str] = set()
        self._hour = 0

    def count(self, who: str, refusal: str) -> int:
        """Count one of `who`, "" = nobody who could be counted. Raises RateLimited, StorageUnavailable.

        `refusal` is what the client is told where there were too many; when the next may come is put behind it.
        Returns the hour in which it counts, for `give_back`.
        """
        hour = (self._clock() - _EPOCH) // _HOUR
        if not self._most or not who:
            return hour
        ends = _end(hour)
        # Whoever keeps knocking on a closed door does not cost a write each time.
        if not self._is_closed(who, hour):
            # Deleted a little later than it ends, since the database's clock may be ahead of ours.
            if self._store.add(f"{self._what}/{who}/{hour}", 1, expires_at=ends + _MINUTE) <= self._most:
                return hour
            self._close(who)
        seconds = max(1, math.ceil((ends - self._clock()).total_seconds()))
        minutes = math.ceil(seconds / 60)
        raise RateLimited(
            f"{self._what} of {who}",
            public=f"{refusal} Try again in {minutes} minute{'' if minutes == 1 else 's'}.",
            retry_after=seconds,
        )

    def give_back(self, who: str, hour: int) -> None:
        """What has been counted in that hour did not come about. Raises StorageUnavailable."""
        self._store.add(f"{self._what}/{who}/{hour}", -1, expires_at=_end(hour) + _MINUTE)
        with self._lock:
            self._used_up.discard(who)

    def _is_closed(self, who: str, hour: int) -> bool:
        with self._lock:
            if hour != self._hour:
                self._hour = hour
                self._used_up.clear()
            return who in self._used_up

    def _close(self, who: str) -> None:
        with self._lock:
            if len(self._used_up) >= _MOST_REMEMBERED:
                self._used_up.clear()
            self._used_up.add(who)


def _end(hour: int) -> datetime:
    return _EPOCH + (hour + 1) * _HOUR
