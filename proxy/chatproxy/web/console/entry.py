"""The console's door: log in, log out."""

from __future__ import annotations

import re

from flask import Blueprint, g, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from chatproxy.core.admins import Admins
from chatproxy.errors import RateLimited, WrongPassword
from chatproxy.web.console.shell import COOKIE, Page, about, acts, open_to_all, page, session


def blueprint(admins: Admins) -> Blueprint:
    """The routes."""
    routes = Blueprint("entry", __name__)

    @routes.get("/login")
    @open_to_all
    def form() -> Page:
        return page(
            "login.html", next=_inside(request.args.get("next", "/")), error="", name="", any=bool(admins.all())
        )

    @routes.post("/login")
    @open_to_all
    @acts("log-in")
    def log_in() -> Page | AnyResponse:
        name, password = request.form.get("name", "").strip().lower(), request.form.get("password", "")
        wanted = _inside(request.form.get("next", "/"))
        # Other names are not written down: people type passwords into the wrong field.
        about(name if admins.knows(name) else "an unknown name")
        try:
            token, opened = admins.log_in(name, password, request.remote_addr or "")
        except (WrongPassword, RateLimited) as error:
            g.outcome = error.code
            return page("login.html", error.status, next=wanted, error=error.public, name=name[:40], any=True)
        if g.admin_session:
            admins.log_out(g.admin_session)
        g.admin_session = opened
        response = redirect(wanted, 303)
        # Not `Secure`: inside the tunnel it is HTTP, and WireGuard encrypts. Ends with the browser.
        response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", path="/")
        return response

    @routes.post("/logout")
    @acts("log-out")
    def log_out() -> AnyResponse:
        admins.log_out(session())
        response = redirect("/login", 303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
        return response

    return routes


def _inside(path: str) -> str:
    """A path of ours: what else stands there would lead whoever logs in to another site."""
    return path if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", path) else "/"
