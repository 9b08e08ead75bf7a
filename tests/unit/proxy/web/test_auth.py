"""Keys: how they are sent, what is refused, and that no route can forget to ask. The matrix: test_authorization.py."""

from __future__ import annotations

import base64

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from chatproxy.core.keys import Keyring
from chatproxy.core.sites import Sites
from chatproxy.core.visitors import Visitors
from chatproxy.errors import ConfigurationError
from chatproxy.web import auth
from tests.unit.proxy.fakes import World
from tests.unit.proxy.memory import MemoryKeys, MemorySites, MemoryUsage


def test_a_route_that_declares_nothing_stops_the_start() -> None:
    app = Flask("bare", static_folder=None)
    app.add_url_rule("/forgotten", view_func=lambda: "open to all")
    with pytest.raises(ConfigurationError, match="/forgotten"):
        auth.install(app, Keyring(MemoryKeys()), Visitors(Sites(MemorySites()), MemoryUsage()))


def test_a_scope_that_is_none_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="root"):
        auth.needs("root")


def test_a_key_is_taken_as_bearer_or_as_basic_password() -> None:
    world = World()
    key, client = world.key(), world.app.test_client()
    basic = base64.b64encode(f"anybody:{key}".encode()).decode()
    for header in (f"Bearer {key}", f"bearer {key}", f"Basic {basic}"):
        assert client.get("/api/v1/conversations", headers={"Authorization": header}).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer kb_",
        "Bearer null",
        'Bearer {"$gt": ""}',
        "Basic !!!",
        "Basic \xe9\xe9",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Basic " + base64.b64encode(b"nocolon").decode(),
        "Digest x",
        "Bearer " + "k" * 10_000,
    ],
)
def test_other_credentials_are_refused_alike(header: str) -> None:
    response = World().app.test_client().get("/api/v1/conversations", headers={"Authorization": header})
    assert response.status_code == 401
    assert response.json == {
        "error": {
            "code": "unauthorized",
            "message": "A valid key is needed: send it as 'Authorization: Bearer kb_...'.",
        }
    }
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_guessing_keys_is_slowed_and_the_right_key_still_answers() -> None:
    world = World()
    client, right = world.app.test_client(), world.key()

    def ask(key: str, address: str = "192.0.2.1") -> TestResponse:
        headers = {"Authorization": f"Bearer {key}"}
        return client.get("/api/v1/conversations", headers=headers, environ_base={"REMOTE_ADDR": address})

    statuses = [ask(f"kb_{number:016x}_{'A' * 43}").status_code for number in range(31)]
    assert statuses == [401] * 30 + [429]
    refused = ask("kb_")
    assert refused.json is not None
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert ask(right).status_code == 200
    assert ask("kb_", "192.0.2.2").status_code == 401


def test_a_request_without_a_key_is_no_guess() -> None:
    client = World().app.test_client()
    assert {client.get("/api/v1/conversations").status_code for _ in range(40)} == {401}


def test_a_key_in_the_address_is_not_looked_at() -> None:
    world = World()
    assert world.app.test_client().get(f"/api/v1/conversations?key={world.key()}").status_code == 401
