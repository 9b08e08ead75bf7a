"""GET /metrics, for Prometheus. Never on the public listener: it tells how the owner's machine is doing."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response

from chatproxy.web.auth import public


def blueprint(render: Callable[[], tuple[bytes, str]]) -> Blueprint:
    """The route; `render` gives the page and its content type."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    @public
    def metrics() -> Response:
        page, content_type = render()
        return Response(page, content_type=content_type)

    return routes
