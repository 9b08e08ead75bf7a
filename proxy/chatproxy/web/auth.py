"""Who may call a route. Deny by default: a route that declares neither a scope nor `public` stops the start."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Flask, Request, g, request

from chatproxy.core.access import Caller, Identity
from chatproxy.core.keys import SCOPES, Keyring
from chatproxy.errors import ConfigurationError, Forbidden, Unauthorized

View = TypeVar("View", bound=Callable[..., Any])
PUBLIC = "public"
_ATTRIBUTE = "required_scope"


def needs(scope: str) -> Callable[[View], View]:
    """The decorated view is for keys with `scope` only."""
    if scope not in SCOPES:
        raise ConfigurationError(f"there is no scope {scope!r}")
    return lambda view: _declare(view, scope)


def public(view: View) -> View:
    """The decorated view is for everybody, without a key."""
    return _declare(view, PUBLIC)


def required_scope(app: Flask, endpoint: str) -> str | None:
    """What an endpoint has declared: a scope's name, "public", or None."""
    declared = getattr(app.view_functions[endpoint], _ATTRIBUTE, None)
    return declared if isinstance(declared, str) else None


def identity() -> Identity:
    """The verified key behind the current request."""
    return cast(Identity, g.identity)


def caller(user_id: str | None = None) -> Caller:
    """For whom the current request is: the key's holder, or one of its own users."""
    return identity().caller(request.remote_addr or "", user_id)


def install(app: Flask, keyring: Keyring) -> None:
    """Check every request of `app`. Call it after all routes are there; raises ConfigurationError for a bare one."""
    for rule in app.url_map.iter_rules():
        if required_scope(app, rule.endpoint) is None:
            raise ConfigurationError(f"the route {rule.rule} declares neither a scope nor public")

    def authorise() -> None:
        if request.endpoint is None:
            return  # no such route or method: the error says so, there is nothing to protect
        scope = required_scope(app, request.endpoint)
        if scope == PUBLIC:
            return
        g.identity = keyring.verify(_key_of(request), request.remote_addr or "")
        if scope not in g.identity.scopes:
            raise Forbidden(f"key {g.identity.key_id} lacks the scope {scope}")

    app.before_request(authorise)


def _declare(view: View, scope: str) -> View:
    setattr(view, _ATTRIBUTE, scope)
    return view


def _key_of(request: Request) -> str:
    """The key from `Bearer KEY`, or from `Basic` as its password: some clients can only carry it in the URL."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:  # bad base64, bytes that are no ASCII, bytes that are no UTF-8
            raise Unauthorized("Basic credentials cannot be decoded") from None
    raise Unauthorized("no credentials")
