"""GET /healthz: this process answers. GET /readyz: it can answer questions; every dependency by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response

from chatproxy.core.readiness import Readiness
from chatproxy.core.slots import GateStatus
from chatproxy.web.auth import public
from chatproxy.web.responses import json_response


def blueprint(readiness: Readiness, model: str, gate: Callable[[], GateStatus]) -> Blueprint:
    """The routes; `gate` tells how busy the engine is."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    @public
    def healthz() -> Response:
        return json_response({"status": "ok"})

    @routes.get("/readyz")
    @public
    def readyz() -> Response:
        reasons = readiness.reasons()
        ready = not any(reasons.values())
        status = gate()
        engine = {
            "model": model,
            "slots": status.slots,
            "busy": status.busy,
            "waiting": status.waiting,
            "held": status.held,
        }
        checks = {name: _shown(reason) for name, reason in reasons.items()}
        return json_response(
            {"status": "ready" if ready else "not ready", "checks": checks, "engine": engine}, 200 if ready else 503
        )

    return routes


def _shown(reason: str | None) -> dict[str, Any]:
    return {"ok": True} if reason is None else {"ok": False, "reason": reason}
