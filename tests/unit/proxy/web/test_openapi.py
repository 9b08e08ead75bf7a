"""GET /openapi.json: valid, complete, and true where the code can be asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response
from openapi_spec_validator import validate

from chatproxy import errors
from chatproxy.errors import ConfigurationError
from chatproxy.web import auth, openapi, responses
from tests.unit.proxy.described import operations
from tests.unit.proxy.fakes import World
from tests.unit.proxy.routes import routes


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    response = World().app.test_client().get("/openapi.json")
    assert response.content_type == "application/json; charset=utf-8"
    return dict(response.get_json())


def test_it_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_it_describes_the_route_table_and_nothing_else(document: dict[str, Any]) -> None:
    table = {(method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)) for method, rule in routes()}
    assert set(operations(document)) == table


def test_scopes_are_those_that_the_routes_declare(document: dict[str, Any]) -> None:
    of_keys = [{"bearer": ["chat"]}, {"basic": ["chat"]}]
    assert document["paths"]["/api/question"]["post"]["security"] == of_keys
    assert document["paths"]["/api/v1/chat"]["post"]["security"] == [*of_keys, {"visitor": ["visitor"]}]
    assert document["paths"]["/api/extra/perf"]["get"]["security"] == [{"bearer": ["kobold"]}, {"basic": ["kobold"]}]
    assert document["paths"]["/healthz"]["get"]["security"] == []


def test_every_code_is_listed(document: dict[str, Any]) -> None:
    consoles = set(_tree(errors.ConsoleError))
    told = (error for error in _tree(errors.ChatProxyError) if error.__module__ == errors.__name__)
    codes = {error.code for error in told if error not in consoles}
    assert set(document["components"]["schemas"]["Code"]["enum"]) == codes | set(responses._CODES.values())


def _tree(error: type[errors.ChatProxyError]) -> Iterator[type[errors.ChatProxyError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _tree(kind)


def test_no_component_is_left_over(document: dict[str, Any]) -> None:
    kinds = ("schemas", "parameters", "headers")
    there = {f"#/components/{kind}/{name}" for kind in kinds for name in document["components"][kind]}
    assert there == {
        used for used in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)) if "responses" not in used
    }


def _app(*paths: str) -> Flask:
    """An application that has some of the real routes, and the description."""
    app = Flask("some", static_folder=None)
    for path in paths:
        app.add_url_rule(path, path.strip("/"), auth.public(lambda: Response()))
    return app


def test_a_route_without_a_description_stops_the_start() -> None:
    world = World()
    app = world.app
    app._got_first_request = False
    app.add_url_rule("/forgotten", view_func=auth.public(lambda: Response()), methods=["PUT"])
    with pytest.raises(ConfigurationError, match="PUT /forgotten is not described"):
        openapi.describe(app)


def test_a_description_without_a_route_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="has no route"):
        openapi.install(_app("/healthz", "/readyz"))
