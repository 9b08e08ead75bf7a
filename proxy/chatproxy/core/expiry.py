"""Deletes what is older than its retention, and waits where the clock cannot be believed.

A clock that jumps ahead (a battery that is empty, a snapshot that is put back, a wrong time server) makes everything
look old. So it is remembered when there was last a look: where more than a day lies between two, nothing is deleted for
another day. An appliance that had been off for weeks, or was restored, deletes a day late; a clock that is put right
within the day has cost nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from chatproxy.core.types import now
from chatproxy.errors import ChatProxyError

_log = logging.getLogger(__name__)
_EVERY_S = 60.0
_LEAP = timedelta(days=1)
_REPRIEVE = timedelta(days=1)
_LAST_LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """When there was a look at what is old, and until when nothing is deleted (None = no reason to wait)."""

    at: datetime
    held_until: datetime | None = None


class ExpiryStore(Protocol):
    """What has a retention. Every method raises StorageUnavailable."""

    def last(self) -> Look | None:
        """The latest look of any process; None before the first."""
        ...

    def note(self, look: Look) -> None: ...

    def remove(self, moment: datetime) -> int:
        """Delete what was to be kept until `moment` at most; returns how much that was."""
        ...


class Expiry:
    """Looks once a minute. One for each process; several do no harm."""

    def __init__(self, store: ExpiryStore, *, clock: Callable[[], datetime] = now) -> None:
        self._store, self._clock = store, clock
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="expiry", daemon=True)

    def start(self) -> None:
        """Begin to look, on a thread of its own that nobody has to wait for."""
        self._thread.start()

    def stop(self) -> None:
        """End; takes a moment at most, whatever the store does."""
        self._ending.set()
        self._thread.join(_LAST_LOOK_S)

    def look(self) -> int:
        """Delete what is old, unless the clock has jumped; returns how much that was. Raises StorageUnavailable."""
        moment, last = self._clock(), self._store.last()
        held_until = last.held_until if last else None
        if last and moment < last.at - _LEAP:
            _log.warning("the clock was put back from %s: what is old is deleted again", last.at)
            held_until = None
        elif last and moment > last.at + _LEAP:
            held_until = moment + _REPRIEVE
            _log.warning("nobody looked since %s, or the clock has jumped: nothing is deleted for a day", last.at)
        if held_until and held_until <= moment:
            held_until = None
        self._store.note(Look(moment, held_until))
        return 0 if held_until else self._store.remove(moment)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                removed = self.look()
                if removed:
                    _log.info("%d documents were older than their retention", removed)
            except ChatProxyError as error:
                _log.warning("what is old could not be deleted: %s", error)
            except Exception as error:  # one defect must not keep what is to go; its text could hold anything
                _log.error("internal_error: what is old could not be deleted: %s", type(error).__name__)
            self._ending.wait(_EVERY_S)
