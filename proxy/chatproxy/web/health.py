"""GET /healthz: this process answers. GET /readyz: it can answer questions; every dependency by name."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from flask import Blueprint, Response

from chatproxy.core.ports import HealthCheck
from chatproxy.core.slots import GateStatus
from chatproxy.errors import Unhealthy
from chatproxy.web.auth import public
from chatproxy.web.responses import describe, json_response

_log = logging.getLogger(__name__)
_CHECKS_TIMEOUT_S = 4.0
# Everybody may ask; the dependencies are bothered once a second at most.
_REMEMBER_S = 1.0


def blueprint(checks: Sequence[HealthCheck], model: str, gate: Callable[[], GateStatus]) -> Blueprint:
    """The routes; `gate` tells how busy the engine is."""
    routes = Blueprint("health", __name__)
    readiness = _Readiness(checks)

    @routes.get("/healthz")
    @public
    def healthz() -> Response:
        return json_response({"status": "ok"})

    @routes.get("/readyz")
    @public
    def readyz() -> Response:
        results = readiness.results()
        ready = all(result["ok"] for result in results.values())
        status = gate()
        engine = {"model": model, "slots": status.slots, "busy": status.busy, "waiting": status.waiting}
        return json_response(
            {"status": "ready" if ready else "not ready", "checks": results, "engine": engine}, 200 if ready else 503
        )

    return routes


class _Readiness:
    def __init__(self, checks: Sequence[HealthCheck]) -> None:
        self._checks = checks
        self._pool = ThreadPoolExecutor(max_workers=max(1, len(checks)), thread_name_prefix="readyz")
        self._running: dict[str, Future[str | None]] = {}
        self._lock = threading.Lock()
        self._known: tuple[float, dict[str, dict[str, Any]]] | None = None

    def results(self) -> dict[str, dict[str, Any]]:
        """{"mongo": {"ok": false, "reason": "cannot be reached"}, ...}"""
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > _REMEMBER_S:
                for check in self._checks:
                    # One that hangs keeps its own thread and no second one: it must not make the others look ill.
                    if check.name not in self._running or self._running[check.name].done():
                        self._running[check.name] = self._pool.submit(_check, check)
                deadline = time.monotonic() + _CHECKS_TIMEOUT_S
                results = {name: _result(future, deadline) for name, future in self._running.items()}
                self._known = (time.monotonic(), results)
            return self._known[1]


def _check(check: HealthCheck) -> str | None:
    try:
        check.check()
    except Unhealthy as error:
        return str(error)
    except Exception as error:
        _log.error("the check of %s failed: %s", check.name, describe(error))
        return "the check itself failed, see the log"
    return None


def _result(future: Future[str | None], deadline: float) -> dict[str, Any]:
    try:
        reason = future.result(timeout=max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        reason = "no answer in time"
    return {"ok": True} if reason is None else {"ok": False, "reason": reason}
