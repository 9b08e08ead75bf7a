"""Cross-origin calls of browsers, for the origins that an operator has listed and for nobody else.

A page sends its key, or its visitor's token, in a header: no cookies, so no credentials mode.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from flask import Flask, Response, current_app, request

from chatproxy.core.visitors import VISITOR
from chatproxy.web import auth


@dataclass(frozen=True)
class Policy:
    """Which calls of which pages may be read: `covers` tells by the current request's route or path, `allows` by its
    origin. What a preflight is told: methods and headers that may be sent, and for how many seconds it counts."""

    covers: Callable[[], bool]
    allows: Callable[[str], bool]
    methods: str
    headers: str
    exposed: str
    lasts_s: int


def kobold(origins: Collection[str], covers: Callable[[str], bool]) -> Policy:
    """For pages of `origins` (as "https://lite.koboldai.net"), where a person types a key in."""
    allowed = frozenset(origins)
    return Policy(
        lambda: bool(allowed) and covers(request.path),
        lambda origin: origin in allowed,
        methods="GET, POST",
        headers="Authorization, Content-Type",
        exposed="Retry-After, X-Request-Id",
        lasts_s=600,
    )


def visitors(origins: Callable[[], Collection[str]], asked_by_all: Collection[str]) -> Policy:
    """For the routes that visitors' tokens open, and pages of the `origins` that site keys list.

    `asked_by_all` are the endpoints that judge origins themselves: their refusals are for the page's owner to read, so
    every page may, as long as it asks without a preflight.
    """

    def covers() -> bool:
        endpoint = request.endpoint
        return endpoint is not None and (
            endpoint in asked_by_all or VISITOR in auth.required_scopes(current_app, endpoint)
        )

    def allows(origin: str) -> bool:
        return (request.method != "OPTIONS" and request.endpoint in asked_by_all) or origin in origins()

    return Policy(
        covers,
        allows,
        methods="GET, POST, PATCH, DELETE",
        headers="Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
        exposed="Retry-After, X-Request-Id, X-Conversation-Id, X-Message-Id",
        lasts_s=7200,
    )


def install(app: Flask, *policies: Policy) -> None:
    """Let pages call what a policy says. Call it before auth.install: a preflight carries no key.

    Origins that are not listed get no header at all, which is a browser's no.
    """

    def policy() -> Policy | None:
        return next((each for each in policies if each.covers()), None)

    def permits(found: Policy | None) -> bool:
        origin = request.headers.get("Origin")
        return found is not None and origin is not None and found.allows(origin)

    @app.before_request
    def preflight() -> Response | None:
        if request.method != "OPTIONS" or not request.headers.get("Access-Control-Request-Method"):
            return None
        found = policy()
        if found is None or not permits(found):
            return None
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = found.methods
        response.headers["Access-Control-Allow-Headers"] = found.headers
        response.headers["Access-Control-Max-Age"] = str(found.lasts_s)
        return response

    @app.after_request
    def permit(response: Response) -> Response:
        found = policy()
        if found is not None:
            response.vary.add("Origin")
            if permits(found):
                response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
                response.headers["Access-Control-Expose-Headers"] = found.exposed
        return response
