"""What all pages of the console have in common: log-in, protection from other sites' pages, the audit, headers, errors.

Deny by default: a route is for those who have logged in unless it is `open_to_all`, and one that changes something
says with `acts` what it does, or the start stops. Every such request is written down, also one that was refused.
"""

from __future__ import annotations

import hmac
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

from flask import Flask, Response, current_app, g, redirect, render_template, request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from jinja2 import StrictUndefined
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import ClientDisconnected, HTTPException
from werkzeug.wrappers import Response as AnyResponse

from chatproxy.core.admin_ports import AdminSession
from chatproxy.core.admins import Admins
from chatproxy.core.audit import NOBODY, Audit
from chatproxy.errors import ChatProxyError, ConfigurationError, InvalidRequest, NotFromThisPage, StorageUnavailable
from chatproxy.web.console import shown, words
from chatproxy.web.responses import describe, limit_patience

_log = logging.getLogger("chatproxy.console")
FOLDER = Path(__file__).resolve().parents[2] / "console"
COOKIE = "console"
_OPEN, _ACT, _MOST_BYTES, _FIRST = "console_open", "console_act", "console_most_bytes", "console_first"
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With no-referrer, browsers would send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# What a page asks again by itself (console.js) has nobody behind it: it keeps no session alive.
_BY_ITSELF = "Console-Refresh"
_MOST_BYTES_OF_A_FORM = 1 << 20
_AWAY = "The database cannot be reached. On the server: make status, then make logs SERVICE=mongo."
_TEXTS = {404: "There is no such page.", 405: "This page does not take that.", 413: "That is too large."}
View = TypeVar("View", bound=Callable[..., Any])
Page = str | AnyResponse | tuple[str, int]


def open_to_all(view: View) -> View:
    """The decorated view is for those too who have not logged in."""
    setattr(view, _OPEN, True)
    return view


def acts(
    what: str, *, most_bytes: int = _MOST_BYTES_OF_A_FORM, first: Callable[[], None] | None = None
) -> Callable[[View], View]:
    """The decorated view does `what` (a name in words.ACTS), which is written down.

    Its form has at most `most_bytes`; `first` is called before it is read, and may refuse it with a ChatProxyError.
    """
    if what not in words.ACTS:
        raise ConfigurationError(f"words.ACTS does not say what {what!r} is")

    def declare(view: View) -> View:
        setattr(view, _ACT, what)
        setattr(view, _MOST_BYTES, most_bytes)
        setattr(view, _FIRST, first)
        return view

    return declare


def about(subject: str) -> None:
    """What the present request's act is done to, for the audit."""
    g.subject = subject


def session() -> AdminSession:
    """Who has sent the present request."""
    return cast(AdminSession, g.admin_session)


def page(template: str, status: int = 200, **values: Any) -> tuple[str, int]:
    """A page out of chatproxy/console/templates."""
    return render_template(template, **values), status


def done(path: str, **query: str) -> AnyResponse:
    """What a form that was carried out answers: the page at `path`, saying so."""
    told = urlencode({**query, "done": getattr(_view(), _ACT, "")})
    return redirect(f"{path}?{told}", 303)


def create() -> Flask:
    """An empty console; routes come next, then `install`."""
    app = Flask(
        "chatproxy.console",
        template_folder=str(FOLDER / "templates"),
        static_folder=str(FOLDER / "static"),
        static_url_path="/static",
    )
    # Of those too who have not logged in.
    app.config["MAX_CONTENT_LENGTH"] = _MOST_BYTES_OF_A_FORM
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(shown.FILTERS)
    app.jinja_env.globals["nav"] = words.NAV
    open_to_all(app.view_functions["static"])
    return app


def install(app: Flask, admins: Admins, audit: Audit) -> None:
    """Protect every route of `app`. Call it after all routes are there; raises ConfigurationError for a bare one."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if (rule.methods or set()) - _SAFE and not hasattr(view, _ACT):
            raise ConfigurationError(f"the route {rule.rule} does not say what it does")

    @app.before_request
    def guard() -> AnyResponse | None:
        g.request_id, g.subject, g.outcome, g.admin_session = uuid.uuid4().hex, "", "", None
        limit_patience()
        _check_origin()
        if request.endpoint == "static":
            return None
        g.admin_session = admins.session(request.cookies.get(COOKIE, ""), used=_BY_ITSELF not in request.headers)
        if request.endpoint is None or getattr(_view(), _OPEN, False):
            if request.method not in _SAFE:
                _read_form()
            return None
        if g.admin_session is None:
            g.outcome = "unauthorized"
            wanted = request.full_path.rstrip("?") if request.method in _SAFE else "/"
            return redirect(f"/login?{urlencode({'next': wanted})}", 303)
        if request.method not in _SAFE:
            request.max_content_length = getattr(_view(), _MOST_BYTES)
            if begin := getattr(_view(), _FIRST):
                begin()
            given = _read_form().get("csrf", "")
            if not hmac.compare_digest(given.encode(), g.admin_session.csrf.encode()):
                raise NotFromThisPage("the form's token is not the session's")
        return None

    @app.context_processor
    def known() -> dict[str, Any]:
        told = words.ACTS.get(request.args.get("done", ""), "")
        return {"session": g.get("admin_session"), "done": told, "path": request.path}

    @app.after_request
    def finish(response: Response) -> Response:
        if request.path.startswith("/static/"):
            # Asked for again each time, and sent again only when changed.
            response.headers["Cache-Control"] = "no-cache"
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["X-Request-Id"] = g.get("request_id", "")
        _write_down(audit, response)
        return response

    @app.errorhandler(ChatProxyError)
    def failed(error: ChatProxyError) -> Response:
        g.outcome = error.code
        if error.status >= 500:
            _log.warning("%s: %s request=%s", error.code, error, g.request_id)
        # Who reads this can do something about it.
        text = _AWAY if isinstance(error, StorageUnavailable) else error.public
        response = app.make_response(page("error.html", error.status, text=text))
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
        return response

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        g.outcome, status = f"http_{error.code}", error.code or 500
        return app.make_response(page("error.html", status, text=_TEXTS.get(status, error.name)))

    @app.errorhandler(Exception)
    def unknown(error: Exception) -> Response:
        g.outcome = "internal_error"
        _log.error("internal_error: %s request=%s", describe(error), g.request_id)
        text = f"Something went wrong on our side. The log has it under {g.request_id}: make logs SERVICE=proxy"
        return app.make_response(page("error.html", 500, text=text))


def _view() -> Any:
    return current_app.view_functions.get(request.endpoint or "")


def _check_origin() -> None:
    """Forms come from our own pages: browsers tell with every POST whose page has sent it.

    Other sites' pages, those of another port of this address too, may link to a page of ours and nothing else; where
    browsers tell (they do not over plain HTTP, except on localhost) it is checked here, before any cookie is looked at.
    """
    if request.method not in _SAFE and request.headers.get("Origin") != request.host_url.rstrip("/"):
        raise NotFromThisPage(f"Origin is {request.headers.get('Origin', '')[:100]!r}")
    told = [request.headers.get(f"Sec-Fetch-{name}", "") for name in ("Site", "Mode", "Dest")]
    if told[0] not in ("", "same-origin", "none") and (request.method, *told[1:]) != ("GET", "navigate", "document"):
        raise NotFromThisPage(f"Sec-Fetch-Site is {told[0][:100]!r}")


def _read_form() -> MultiDict[str, str]:
    """The request's form, whole: here, and nowhere else, it is waited for. Raises InvalidRequest, or 413."""
    try:
        return request.form
    except ParseException:
        raise InvalidRequest("The form was not sent in proper chunks.") from None
    except (TimeoutError, ClientDisconnected):
        raise InvalidRequest("The form stopped coming.") from None


def _write_down(audit: Audit, response: Response) -> None:
    what = getattr(_view(), _ACT, "") if request.method not in _SAFE else ""
    if not what:
        return
    actor = g.admin_session.admin if g.admin_session else NOBODY
    outcome = g.outcome or ("done" if response.status_code < 400 else f"http_{response.status_code}")
    audit.note(actor, request.remote_addr or "", what, g.subject, outcome=outcome)
