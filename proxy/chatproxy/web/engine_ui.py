"""The engine's own page, passed on by the proxy: an application of its own, for a listener inside the VPN.

There is no login here: the VPN is the door, and whoever came through it may use the page. What computes takes a slot
of the gate, all else is passed on at once (core/engine_routes). Neither is described in /openapi.json: the routes are
the engine's.

Any website can make the browser of an administrator send requests here. So what comes from another origin is refused,
and nothing that a GET can ask computes.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, Response, g, request
from werkzeug.datastructures import Headers
from werkzeug.wsgi import ClosingIterator

from chatproxy.core import engine_routes
from chatproxy.core.engine_pages import PageEvent, PageHead, PageRequest
from chatproxy.core.engine_routes import Kind
from chatproxy.core.engine_ui import EngineUi
from chatproxy.errors import Busy, ChatProxyError, EngineFailure, Forbidden, InvalidRequest, OriginNotAllowed
from chatproxy.web import engine_ui_pages, responses
from chatproxy.web.chat import CLIENT_CLOSED_REQUEST
from chatproxy.web.clients import watch
from chatproxy.web.responses import Failure, json_response

_log = logging.getLogger(__name__)
_LARGEST_BODY = 32 << 20  # bytes: koboldcpp's own limit
# Requests at a time, of all administrators together. koboldcpp serves 24 connections in all, and the proxy's own calls
# want some: a browser that loads many files waits here, and abort never waits behind them. What computes or waits for
# its turn holds a body in memory.
_AT_ONCE = {Kind.PAGE: 4, Kind.CONTROL: 2, Kind.COMPUTE: 6}
_PATIENCE_S = {Kind.PAGE: 10.0, Kind.CONTROL: 10.0, Kind.COMPUTE: 0.0}
_RETRY_S = 5
_HELD = "chatproxy.engine_ui.held"  # in the WSGI environment: what the request holds, an ExitStack
# The page is the engine's: any other rule for its content would break it.
_CSP = "frame-ancestors 'none'"
_SAME = ("same-origin", "none")  # of Sec-Fetch-Site: from the page itself, or typed by the person


def create(ui: EngineUi, *, engine: str) -> Flask:
    """The application; `engine` says in a few words what an engine without a page is."""
    app = Flask("chatproxy.engine_ui", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY
    responses.install(app, {"/": _envelope})
    _install_guard(app)
    _install_rooms(app)

    def passed_on() -> Response:
        return _passed_on(ui, engine)

    # Named, so that the log tells them; every other path is one route to it.
    for number, (method, path) in enumerate(sorted(engine_routes.CONTROLS)):
        _add(app, path, f"control-{number}", passed_on, (method,))
    _add(app, "/", "root", passed_on, engine_routes.METHODS)
    _add(app, "/<path:rest>", "rest", lambda rest: passed_on(), engine_routes.METHODS)
    return app


def _add(app: Flask, rule: str, name: str, view: Callable[..., Response], methods: tuple[str, ...]) -> None:
    app.add_url_rule(rule, name, view, methods=methods, provide_automatic_options=False)


def _envelope(failure: Failure) -> tuple[Any, int]:
    """Where KoboldAI Lite looks for a text, and where llama.cpp's page does."""
    told = {"message": failure.text, "type": failure.code, "code": failure.status}
    return {"detail": {"msg": failure.text, "type": failure.code}, "error": told}, failure.status


# --- who may ask ----------------------------------------------------------------------------------------------------


def _install_guard(app: Flask) -> None:
    @app.before_request
    def check() -> None:
        if not engine_routes.is_plain(_target()):
            raise InvalidRequest("This address is not one that an engine's page has.")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != f"{request.scheme}://{request.host}".lower():
            raise OriginNotAllowed("origin", public="Pages of other origins may not use the engine.")
        if request.headers.get("Sec-Fetch-Site", "none") not in _SAME and not _is_opened():
            raise OriginNotAllowed("fetch metadata", public="Pages of other sites may not use the engine.")
        if engine_routes.is_refused(request.method, request.path):
            raise Forbidden("computes by GET", public="Speech is made by POST /api/extra/tts alone.")


def _is_opened() -> bool:
    """Whether a person follows a link to here, as from the console."""
    navigates = request.headers.get("Sec-Fetch-Mode") == "navigate"
    return request.method == "GET" and navigates and request.headers.get("Sec-Fetch-Dest") == "document"


def _target() -> str:
    """Path and query as they stood in the request line; werkzeug's are decoded and put right."""
    return str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or "")


def _kind() -> Kind:
    path, _, query = _target().partition("?")
    return engine_routes.kind_of(request.method, path, query)


# --- how many at a time ---------------------------------------------------------------------------------------------


def _install_rooms(app: Flask) -> None:
    rooms = {kind: threading.BoundedSemaphore(at_once) for kind, at_once in _AT_ONCE.items()}

    @app.before_request
    def take() -> None:
        if request.url_rule is None:
            return  # ends in an error at once
        kind = _kind()
        if not rooms[kind].acquire(timeout=_PATIENCE_S[kind]):
            told = "Too many requests of the engine's page at a time. Please try again shortly."
            raise Busy(f"{_AT_ONCE[kind]} of kind {kind.value}", public=told, retry_after=_RETRY_S)
        request.environ[_HELD].callback(rooms[kind].release)

    inner = app.wsgi_app

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> ClosingIterator:
        # Around the whole application: a response whose head cannot be written is never closed.
        with ExitStack() as held:
            environ[_HELD] = held
            return ClosingIterator(inner(environ, start_response), held.pop_all().close)

    app.wsgi_app = answer  # type: ignore[method-assign]


# --- passing on -----------------------------------------------------------------------------------------------------


def _passed_on(ui: EngineUi, engine: str) -> Response:
    kind = _kind()
    body = b"" if kind is Kind.PAGE else request.get_data(cache=False)
    genkey = _genkey(body)
    asked = PageRequest(request.method, _target(), dict(request.headers), body, genkey)
    if request.path == engine_routes.ABORT and kind is Kind.CONTROL and ui.abort(genkey):
        return json_response({"success": "true", "done": "true"})
    events = ui.compute(asked) if kind is Kind.COMPUTE else ui.show(asked)
    request.environ[_HELD].callback(events.close)
    try:
        response = _answer(events, watch(request.environ))
    except EngineFailure as error:
        _log.warning("%s: %s request=%s", error.code, error, g.request_id)
        if _wants_page():
            return engine_ui_pages.away(error.status)
        raise type(error)(str(error), public=engine_ui_pages.AWAY) from None
    if request.path == "/" and request.method == "GET" and response.status_code in (404, 405):
        return engine_ui_pages.no_page(engine)
    return response


def _answer(events: Generator[PageEvent], gone: Callable[[], bool]) -> Response:
    """What the engine answers, once it has begun to."""
    for event in events:
        if isinstance(event, PageHead):
            return _streamed(event, _body(events, gone))
        if gone():
            return json_response({}, CLIENT_CLOSED_REQUEST)
    return _aborted()


def _streamed(head: PageHead, body: Iterator[bytes]) -> Response:
    response = Response(body, head.status)
    response.headers = Headers(head.headers.items())
    response.headers["Content-Security-Policy"] = _CSP
    response.headers["X-Frame-Options"] = "DENY"
    # nginx and its kin would collect a stream before passing it on.
    response.headers["X-Accel-Buffering"] = "no"
    try:
        response.get_wsgi_headers(request.environ)
    except ValueError:  # such as a Location that is no address; llhttp lets no broken line come this far
        raise EngineFailure("the engine's answer has a header that cannot be passed on") from None
    return response


def _body(events: Generator[PageEvent], gone: Callable[[], bool]) -> Iterator[bytes]:
    """The answer's bytes as they come."""
    try:
        for event in events:
            if isinstance(event, bytes):
                yield event
            elif gone():
                return
    except ChatProxyError as error:
        _log.warning("%s in mid-answer: %s", error.code, error)
        raise  # the server cuts the connection: what came is not to be taken for all


def _aborted() -> Response:
    """As koboldcpp ends a generation that is aborted before its first token."""
    path = request.path.rstrip("/")
    if path == engine_routes.GENERATES_STREAM:
        event = json.dumps({"token": "", "finish_reason": "length"})  # nosec B105 - a piece of text
        return Response(f"event: message\ndata: {event}\n\n", content_type="text/event-stream")
    if path in engine_routes.GENERATES_WHOLE:
        return json_response({"results": [{"text": "", "finish_reason": "length"}]})
    raise Busy("aborted", public="This was aborted before its turn came.")


def _genkey(body: bytes) -> str:
    """koboldcpp's name for a generation; "" where the body has none. Searched first: bodies may hold images."""
    if b'"genkey"' not in body:
        return ""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    genkey = fields.get("genkey") if isinstance(fields, dict) else None
    return genkey if isinstance(genkey, str) else ""


def _wants_page() -> bool:
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "")
