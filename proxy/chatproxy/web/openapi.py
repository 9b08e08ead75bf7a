"""GET /openapi.json: what this server answers to, as OpenAPI 3.1.

The routes are described by hand, in one YAML file for each API family in chatproxy/openapi. What the code knows
better is put in here: the scope that web/auth asks for, and for each status of `errors` the envelope of the family. A
route without a description, or a description without a route, stops the start.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import yaml
from flask import Flask, Response

from chatproxy.core.visitors import VISITOR
from chatproxy.errors import ConfigurationError
from chatproxy.web import auth

FOLDER = Path(__file__).resolve().parents[1] / "openapi"
_SHARED = "common.yaml"
# Flask answers these by itself, on every path.
_BY_ITSELF = {"HEAD", "OPTIONS"}
_ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")
# What every route can answer with; those with a key (it is looked up in the database, guessing is slowed); with a body.
_ALWAYS, _WITH_KEY, _WITH_BODY = (500,), (401, 403, 429, 503), (400, 413)
_LATER = {"Retry-After": "RetryAfter"}
_HEADERS = {401: {"WWW-Authenticate": "Challenge"}, 429: _LATER, 503: _LATER}
_PARAMETERS = "parameters"
# How those with a scope show that they have it.
_OF_KEYS, _SCHEMES = ("bearer", "basic"), {VISITOR: ("visitor",)}
Json = dict[str, Any]
Route = tuple[str, str]  # path, method


def install(app: Flask) -> None:
    """Describe the routes of `app`. Call it after all others are there; raises ConfigurationError for a mismatch."""

    @auth.public
    def openapi() -> Response:
        return Response(document, content_type="application/json; charset=utf-8")

    app.add_url_rule("/openapi.json", view_func=openapi, methods=["GET"])
    document = json.dumps(describe(app), ensure_ascii=False, separators=(",", ":")).encode()


def describe(app: Flask) -> Json:
    """The document for the routes that `app` has. Raises ConfigurationError."""
    shared, families = _files()
    endpoints = {(path, method): endpoint for path, method, endpoint in _routes(app)}
    _check({(path, method) for family in families for path, method, _ in _operations(family)}, endpoints.keys())
    paths: dict[str, Json] = {}
    for family in families:
        for path, item in family["paths"].items():
            paths[path] = {name: value for name, value in item.items() if name == _PARAMETERS}
        for path, method, operation in _operations(family):
            scopes = auth.required_scopes(app, endpoints[path, method])
            paths[path][method] = _operation(f"{method} {path}", operation, family, scopes)
    head = {name: shared[name] for name in ("openapi", "info", "servers")}
    tags = [{"name": family["tag"]} for family in families]
    return {**head, "tags": tags, "paths": paths, "components": _components(shared, families)}


def _check(described: Set[Route], there: Set[Route]) -> None:
    for path, method in sorted(described ^ there):
        problem = "has no route" if (path, method) in described else "is not described"
        raise ConfigurationError(f"{method.upper()} {path} {problem}: see chatproxy/openapi")


@functools.cache
def _files() -> tuple[Json, list[Json]]:
    """(what all share, the families)."""
    names = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != _SHARED)
    shared, *families = (yaml.safe_load((FOLDER / name).read_text()) for name in (_SHARED, *names))
    return shared, families


def _routes(app: Flask) -> Iterator[tuple[str, str, str]]:
    """(path as OpenAPI writes it, method, endpoint)."""
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - _BY_ITSELF:
            yield _ARGUMENT.sub(r"{\1}", rule.rule), method.lower(), rule.endpoint


def _operations(family: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in family["paths"].items():
        yield from ((path, method, operation) for method, operation in item.items() if method != _PARAMETERS)


def _operation(route: str, written: Json, family: Json, scopes: Sequence[str]) -> Json:
    """`written`, with an id, security and all errors."""
    keyed = auth.PUBLIC not in scopes
    security = [{scheme: [scope]} for scope in scopes for scheme in _SCHEMES.get(scope, _OF_KEYS)]
    errors = {*_ALWAYS, *written.get("errors", ()), *(_WITH_KEY if keyed else ())}
    if "requestBody" in written:
        errors.update(_WITH_BODY)
    responses = {status: _with_request_id(response) for status, response in written["responses"].items()}
    for status in sorted(errors - responses.keys()):
        responses[status] = {"$ref": f"#/components/responses/{family['error']}{status}"}
    return {
        **{name: value for name, value in written.items() if name != "errors"},
        "operationId": _id(route),
        "tags": [family["tag"]],
        "security": security if keyed else [],
        "responses": {str(status): response for status, response in responses.items()},
    }


def _errors(envelope: str, statuses: Mapping[int, str]) -> Json:
    """The family's response for each status."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{envelope}"}}}
    headers = {
        status: {name: {"$ref": f"#/components/headers/{kept}"} for name, kept in _HEADERS.get(status, {}).items()}
        for status in statuses
    }
    return {
        f"{envelope}{status}": {"description": text, "headers": headers[status], "content": content}
        for status, text in statuses.items()
    }


def _id(route: str) -> str:
    """A name for generated clients. A slash at the end tells two routes apart, so it counts."""
    return re.sub(r"[^a-zA-Z0-9]+", "_", re.sub(r"/$", "/slash", route)).rstrip("_")


def _with_request_id(response: Json) -> Json:
    """A response as it stands, or a reference to one that has the header already."""
    if "$ref" in response:
        return response
    headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}, **response.get("headers", {})}
    return {**response, "headers": headers}


def _components(shared: Json, families: Sequence[Json]) -> Json:
    """Those of all files together; a name stands once."""
    together: dict[str, Json] = {}
    for file in (shared, *families):
        for kind, named in file.get("components", {}).items():
            known = together.setdefault(kind, {})
            if twice := known.keys() & named.keys():
                raise ConfigurationError(f"chatproxy/openapi describes {', '.join(sorted(twice))} twice")
            known.update(named)
    for family in families:
        together["responses"] |= _errors(family["error"], shared["statuses"])
    together["responses"] = {name: _with_request_id(response) for name, response in together["responses"].items()}
    return together
