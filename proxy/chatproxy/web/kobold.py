"""KoboldAI's API, as koboldcpp speaks it: all of its routes, their error envelope, and which origins may call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint

from chatproxy.core.completions import Completions
from chatproxy.core.running import Running
from chatproxy.core.slots import GateStatus
from chatproxy.web import kobold_extra, kobold_generate
from chatproxy.web.kobold_perf import Performance
from chatproxy.web.responses import Envelope, Failure

# A path that ends with a slash stands for everything below it.
_PATHS = (
    *(f"/api/{version}/{what}" for version in ("v1", "latest") for what in ("generate", "model", "info/", "config/")),
    "/api/extra/",
)


def envelope(failure: Failure) -> tuple[Any, int]:
    """{"detail": {"msg", "type"}}, koboldcpp's."""
    return {"detail": {"msg": failure.text, "type": failure.code}}, failure.status


ENVELOPES: dict[str, Envelope] = dict.fromkeys(_PATHS, envelope)


def covers(path: str) -> bool:
    """Whether `path` belongs to this API."""
    return path.rstrip("/") in _PATHS or path.startswith(tuple(known for known in _PATHS if known.endswith("/")))


def blueprint(
    completions: Completions,
    running: Running,
    *,
    model: str,
    gate: Callable[[], GateStatus],
    context_size: Callable[[], int],
) -> Blueprint:
    """The routes. `gate` tells how busy the engine is; `context_size` is in its tokens."""
    routes = Blueprint("kobold", __name__)
    performance = Performance(gate)
    kobold_generate.add_routes(routes, completions, performance)
    kobold_extra.add_routes(routes, completions, running, performance)
    kobold_extra.add_connect_routes(routes, model, context_size, completions.sees)
    return routes
