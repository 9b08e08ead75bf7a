"""How the appliance is doing right now: what /metrics tells, and what the console shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chatproxy.core.readiness import Readiness
from chatproxy.core.slots import GateStatus
from chatproxy.core.tally import Tally, Totals
from chatproxy.errors import StorageUnavailable


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that all of this runs on, in bytes. `disk` is the one that holds the appliance's data."""

    disk_size: int
    disk_free: int
    memory_size: int
    memory_available: int


@dataclass(frozen=True, slots=True)
class Validity:
    """A certificate's time."""

    begins_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Backup:
    """When everything was last backed up; None = never."""

    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Condition:
    """A snapshot. What is None could not be found out.

    `dependencies` are the health checks: what is wrong with each by name, None where nothing is. `totals` count from
    the start of this process.
    """

    model: str
    gate: GateStatus
    totals: Totals
    dependencies: Mapping[str, str | None]
    machine: Machine | None
    certificate: Validity | None
    backup: Backup | None


class BackupRecord(Protocol):
    """What `make backup` leaves behind."""

    def last(self) -> Backup:
        """The latest backup. Raises StorageUnavailable."""
        ...


class Observer:
    """Looks at everything at once; takes a few seconds at most, whatever is away. Thread-safe."""

    def __init__(
        self,
        model: str,
        tally: Tally,
        gate: Callable[[], GateStatus],
        readiness: Readiness,
        backups: BackupRecord,
        *,
        machine: Callable[[], Machine | None] = lambda: None,
        certificate: Callable[[], Validity | None] = lambda: None,
    ) -> None:
        """`machine` and `certificate` (the one that visitors see) give None where they cannot tell."""
        self._model, self._tally, self._gate = model, tally, gate
        self._readiness, self._backups = readiness, backups
        self._machine, self._certificate = machine, certificate

    def look(self) -> Condition:
        dependencies = self._readiness.reasons()
        return Condition(
            self._model,
            self._gate(),
            self._tally.totals(),
            dependencies,
            self._machine(),
            self._certificate(),
            self._backup(),
        )

    def _backup(self) -> Backup | None:
        try:
            return self._backups.last()
        except StorageUnavailable:
            return None  # that the database is away is told beside it
