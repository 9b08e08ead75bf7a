"""The widget in the browser: its script for other people's pages, its files, and the appliance's own pages.

/widget.js                  what a page includes; it loads the rest
/widget/VERSION/NAME        the rest, for ever the same under one version
/chat  /embed  /demo        the chat as a page, in a frame of a site key's pages, and on a page like a customer's
"""

from __future__ import annotations

import html

from flask import Blueprint, Response, request

from chatproxy.core.visitors import Visitors
from chatproxy.errors import NotFound, OriginNotAllowed, StorageUnavailable
from chatproxy.web.auth import public
from chatproxy.web.visitors import own_origin
from chatproxy.web.widget_files import File, WidgetFiles

_FOR_A_WHILE = "public, max-age=300"
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
# Scripts and styles are files of ours, texts from the model are never markup that a script has put together.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; trusted-types chat-widget; frame-ancestors "
)
_PLAIN_POLICY = "default-src 'none'; frame-ancestors "
_NOBODY, _EVERYBODY = "'none'", "*"


def blueprint(visitors: Visitors, files: WidgetFiles, *, chat_page: bool) -> Blueprint:
    """The routes; `chat_page`: whether /chat is there."""
    routes = Blueprint("widget", __name__)

    def page(name: str, framed_by: str, *, site_key: str) -> Response:
        text = files.page(name, bot=request.args.get("bot", ""), site_key=site_key, origin=own_origin())
        return _page(text, framed_by)

    @routes.get("/widget.js")
    @public
    def loader() -> Response:
        response = _file(files.loader, _FOR_A_WHILE)
        response.set_etag(files.version)
        response.make_conditional(request)
        return response

    @routes.get("/widget/<version>/<path:name>")
    @public
    def file(version: str, name: str) -> Response:
        if name not in files.files:
            raise NotFound("no such file of the widget")
        return _file(files.files[name], _FOR_EVER if version == files.version else _ASK_AGAIN)

    @routes.get("/chat")
    @public
    def chat() -> Response:
        if not chat_page:
            return _plain(404, "There is no chat on this page.", _NOBODY)
        return page("chat.html", _NOBODY, site_key="")

    @routes.get("/embed")
    @public
    def embed() -> Response:
        try:
            site = visitors.site(request.args.get("site_key", ""))
        except (OriginNotAllowed, StorageUnavailable) as error:
            return _plain(error.status, error.public, _EVERYBODY)
        return page("chat.html", " ".join(site.origins), site_key=site.id)

    @routes.get("/demo")
    @public
    def demo() -> Response:
        if not chat_page and not request.args.get("site_key"):
            return _plain(404, "There is no chat without a site key: open this page with ?site_key=...", _NOBODY)
        return page("demo.html", _NOBODY, site_key=request.args.get("site_key", ""))

    return routes


def _file(found: File, cached: str) -> Response:
    response = Response(found.content, content_type=found.content_type)
    response.headers["Cache-Control"] = cached
    # For pages everywhere: the files are the same for all and hold nothing of anybody's.
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def _page(text: str, framed_by: str) -> Response:
    response = Response(text, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY + framed_by
    response.headers["Cache-Control"] = _ASK_AGAIN
    if framed_by != _NOBODY:
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def _plain(status: int, text: str, framed_by: str) -> Response:
    """A page without anything that could run, for people."""
    body = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Chat</title><p>{html.escape(text)}</p></html>'
    response = Response(body, status, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _PLAIN_POLICY + framed_by
    return response
