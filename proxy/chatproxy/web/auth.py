"""Who may call a route. Deny by default: a route that declares neither a scope nor `public` stops the start.

Credentials are API keys, and the short-lived tokens of web pages' visitors: the scope "visitor", which no key can have.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Flask, Request, Response, g, request

from chatproxy.core.access import Caller, Identity
from chatproxy.core.audit import Audit
from chatproxy.core.keys import SCOPES, Keyring
from chatproxy.core.visitors import PREFIX, VISITOR, Visitors
from chatproxy.errors import ConfigurationError, Forbidden, InvalidRequest, Unauthorized

# Bytes. Caddy holds requests back up to 1 MB until they are whole, so that none of our threads waits for a body.
_LARGEST_BODY_OF_VISITOR = 900_000
View = TypeVar("View", bound=Callable[..., Any])
PUBLIC, _ADMIN = "public", "admin"
_ATTRIBUTE = "required_scopes"
# A key's holder speaks for users; a visitor speaks for nobody else.
_FOR_KEYS = ("user_id", "all_users")


def needs(*scopes: str) -> Callable[[View], View]:
    """The decorated view is for those with any of `scopes` only."""
    for scope in scopes:
        if scope not in SCOPES | {VISITOR}:
            raise ConfigurationError(f"there is no scope {scope!r}")
    return lambda view: _declare(view, scopes)


def public(view: View) -> View:
    """The decorated view is for everybody, without a key."""
    return _declare(view, (PUBLIC,))


def required_scopes(app: Flask, endpoint: str) -> tuple[str, ...]:
    """What an endpoint has declared: scopes' names, or "public" alone; nothing where it has declared nothing."""
    return tuple(getattr(app.view_functions[endpoint], _ATTRIBUTE, ()))


def identity() -> Identity:
    """The verified key, or visitor, behind the current request."""
    return cast(Identity, g.identity)


def caller(user_id: str | None = None) -> Caller:
    """For whom the current request is: the key's holder, one of its own users, or a visitor."""
    return identity().caller(request.remote_addr or "", user_id)


def install(app: Flask, keyring: Keyring, visitors: Visitors, audit: Audit | None = None) -> None:
    """Check every request of `app`. Call it after all routes are there; raises ConfigurationError for a bare one.

    `audit` gets what is done, or tried, with a key of the scope `admin` where that scope is needed.
    """
    for rule in app.url_map.iter_rules():
        if not required_scopes(app, rule.endpoint):
            raise ConfigurationError(f"the route {rule.rule} declares neither a scope nor public")

    def identify() -> Identity:
        key = _key_of(request)
        if key.startswith(PREFIX):
            return visitors.verify(key, request.headers.get("Origin"))
        return keyring.verify(key, request.remote_addr or "")

    def authorise() -> None:
        if request.endpoint is None:
            return  # no such route or method: the error says so, there is nothing to protect
        scopes = required_scopes(app, request.endpoint)
        if PUBLIC in scopes:
            return
        g.identity = identify()
        if g.identity.scopes.isdisjoint(scopes):
            raise Forbidden(f"key {g.identity.key_id} lacks the scope {' or '.join(scopes)}")
        _check_alone(g.identity)
        if g.identity.visit:
            request.max_content_length = _LARGEST_BODY_OF_VISITOR

    def write_down(response: Response) -> Response:
        what = request.endpoint or ""
        changes = what and request.method not in ("GET", "HEAD", "OPTIONS") and required_scopes(app, what) == (_ADMIN,)
        if audit and changes and "identity" in g and _ADMIN in g.identity.scopes:
            subject = " ".join(str(value) for value in (request.view_args or {}).values())
            outcome = "done" if response.status_code < 400 else f"http_{response.status_code}"
            audit.note(f"key:{g.identity.key_id}", request.remote_addr or "", what, subject, outcome=outcome)
        return response

    app.before_request(authorise)
    app.after_request(write_down)


def _declare(view: View, scopes: tuple[str, ...]) -> View:
    setattr(view, _ATTRIBUTE, scopes)
    return view


def _check_alone(asking: Identity) -> None:
    given = [name for name in _FOR_KEYS if name in request.args]
    if asking.visit and given:
        raise InvalidRequest(f"{given[0]}: is for API keys; a visitor has no users")


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
