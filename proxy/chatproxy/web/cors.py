"""Cross-origin calls of browsers, for the origins that an operator has listed and for nobody else.

A page with a key typed in by its own user (KoboldAI Lite) sends it in a header: no cookies, so no credentials mode.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from flask import Flask, Response, request

_PREFLIGHT_LASTS_S = 600
_EXPOSED = "Retry-After, X-Request-Id"


def install(app: Flask, origins: Collection[str], covers: Callable[[str], bool]) -> None:
    """Let pages of `origins` (as "https://lite.koboldai.net") call the paths that `covers` names.

    Call it before auth.install: a preflight carries no key. Origins that are not listed get no header at all, which is
    a browser's no.
    """
    allowed = frozenset(origins)

    def is_allowed() -> bool:
        return request.headers.get("Origin") in allowed and covers(request.path)

    @app.before_request
    def preflight() -> Response | None:
        asked = request.headers.get("Access-Control-Request-Method")
        if request.method != "OPTIONS" or not asked or not is_allowed():
            return None
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = "GET, POST"
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_LASTS_S)
        return response

    @app.after_request
    def permit(response: Response) -> Response:
        if allowed and covers(request.path):
            response.vary.add("Origin")
            if is_allowed():
                response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
                response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        return response
