"""What every answer has in common: JSON errors in the family's envelope, request ids, headers, one log line."""

from __future__ import annotations

import json
import logging
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from chatproxy.core.measures import UNMEASURED, Measures
from chatproxy.errors import ChatProxyError

_log = logging.getLogger("chatproxy.requests")
_CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    411: "length_required",
    413: "too_large",
    414: "too_large",
    431: "too_large",
}
_TEXTS = {
    404: "There is nothing here.",
    405: "This address does not take that method.",
    413: "The request is too large.",
}
# Seconds without any byte taken or given; a stream's pings come more often than that.
_CLIENT_TIMEOUT_S = 30.0
# Nothing the proxy answers with is a page, may be framed, cached or guessed to be of another type.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, as it is told: HTTP status, stable code, text for the client."""

    status: int
    code: str
    text: str

    @classmethod
    def of(cls, error: ChatProxyError) -> Failure:
        return cls(error.status, error.code, error.public)


# How an API family tells a failure: the JSON payload, and the HTTP status that its clients expect.
Envelope = Callable[[Failure], tuple[Any, int]]


def native_envelope(failure: Failure) -> tuple[Any, int]:
    """{"error": {"code", "message"}}: what every path has that no family claims."""
    return {"error": {"code": failure.code, "message": failure.text}}, failure.status


def limit_patience() -> None:
    """See to it that a client who neither sends nor reads any more does not keep one of our threads."""
    connection = request.environ.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        connection.settimeout(_CLIENT_TIMEOUT_S)


def json_response(payload: Any, status: int = 200) -> Response:
    """Compact UTF-8 JSON."""
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
    return Response(body, status, content_type="application/json; charset=utf-8")


def error_response(error: ChatProxyError) -> Response:
    """An error in the envelope of the API family that the path belongs to, with Retry-After where it has one."""
    return _error(Failure.of(error), error.retry_after)


def install(app: Flask, envelopes: Mapping[str, Envelope], measures: Measures = UNMEASURED) -> None:
    """Give all answers of `app` these properties, and count them.

    `envelopes` are the families' own, by path: "/api/x" is that path alone, "/v1/" everything below it.
    """
    app.config["ENVELOPES"] = dict(envelopes)
    # No redirects: they are HTML, and clients that follow them lose the body of a POST.
    app.url_map.merge_slashes = False

    @app.before_request
    def begin() -> None:
        g.begun, g.request_id = time.monotonic(), uuid.uuid4().hex
        limit_patience()

    @app.after_request
    def finish(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["X-Request-Id"] = g.request_id
        measures.requested(request.blueprint or "", response.status_code)
        line = _line(response)
        begun = g.begun
        # At the end of a stream, not of its headers.
        response.call_on_close(lambda: _log.info("%s ms=%d", line, (time.monotonic() - begun) * 1000))
        return response

    @app.errorhandler(ChatProxyError)
    def known(error: ChatProxyError) -> Response:
        if error.status >= 500:
            _log.warning("%s: %s request=%s", error.code, error, g.request_id)
        response = error_response(error)
        if error.status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="chatbot"'
        return response

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        text = _TEXTS.get(status, error.name)
        code = _CODES.get(status, "invalid_request" if status < 500 else "internal_error")
        response = _error(Failure(status, code, text))
        if status == 405:
            response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return response

    @app.errorhandler(Exception)
    def unknown(error: Exception) -> Response:
        # The traceback, without its message: that may quote what somebody wrote.
        _log.error("internal_error: %s request=%s", describe(error), g.request_id)
        return error_response(ChatProxyError())


def describe(error: BaseException) -> str:
    """An unexpected error's type and the places it passed, innermost last; its message may hold content."""
    places, trace = [], error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return f"{type(error).__name__} at {' > '.join(places[-6:])}"


def _line(response: Response) -> str:
    """The route, not the path: a path can hold ids, and a mistyped one anything."""
    route = request.url_rule.rule if request.url_rule else "-"
    key = g.identity.key_id if "identity" in g else "-"
    return f"{request.method} {route} status={response.status_code} key={key} request={g.request_id}"


def _error(failure: Failure, retry_after: int | None = None) -> Response:
    response = json_response(*_envelope(request.path)(failure))
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _envelope(path: str) -> Envelope:
    """The envelope of the path itself, or of the longest beginning that is in the table."""
    table: dict[str, Envelope] = current_app.config["ENVELOPES"]
    below = [key for key in table if key.endswith("/") and path.startswith(key)]
    return table.get(path.rstrip("/")) or table.get(max(below, key=len, default=""), native_envelope)
