"""The audit's page: who did what, newest first."""

from __future__ import annotations

from flask import Blueprint, request

from chatproxy.core.audit import Audit
from chatproxy.web.console.shell import Page, page

_ON_A_PAGE = 100


def blueprint(audit: Audit) -> Blueprint:
    """The route."""
    routes = Blueprint("audit", __name__)

    @routes.get("/audit")
    def acts() -> Page:
        actor = request.args.get("actor", "")[:100]
        found = audit.newest(_ON_A_PAGE, cursor=request.args.get("cursor") or None, actor=actor)
        return page("audit.html", acts=found.items, actor=actor, more=found.next_cursor or "")

    return routes
