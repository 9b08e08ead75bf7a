"""Whether questions can be answered now: every dependency by name, asked side by side."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from chatproxy.core.ports import HealthCheck
from chatproxy.errors import Unhealthy

_log = logging.getLogger(__name__)
_CHECKS_TIMEOUT_S = 4.0
# Everybody may ask; the dependencies are bothered once a second at most.
_REMEMBER_S = 1.0


class Readiness:
    """Asks the dependencies. Thread-safe."""

    def __init__(self, checks: Sequence[HealthCheck]) -> None:
        self._checks = checks
        self._pool = ThreadPoolExecutor(max_workers=max(1, len(checks)), thread_name_prefix="readiness")
        self._running: dict[str, Future[str | None]] = {}
        self._lock = threading.Lock()
        self._known: tuple[float, Mapping[str, str | None]] | None = None

    def reasons(self) -> Mapping[str, str | None]:
        """{"mongo": "cannot be reached", "engine": None, ...}: what is wrong with each, None where nothing is.

        Takes four seconds at most.
        """
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > _REMEMBER_S:
                for check in self._checks:
                    # One that hangs keeps its own thread and no second one: it must not make the others look ill.
                    if check.name not in self._running or self._running[check.name].done():
                        self._running[check.name] = self._pool.submit(_check, check)
                deadline = time.monotonic() + _CHECKS_TIMEOUT_S
                reasons = {name: _result(future, deadline) for name, future in self._running.items()}
                self._known = (time.monotonic(), reasons)
            return self._known[1]


def _check(check: HealthCheck) -> str | None:
    try:
        check.check()
    except Unhealthy as error:
        return str(error)
    except Exception as error:
        _log.error("the check of %s failed: %s", check.name, type(error).__name__)
        return "the check itself failed, see the log"
    return None


def _result(future: Future[str | None], deadline: float) -> str | None:
    try:
        return future.result(timeout=max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return "no answer in time"
