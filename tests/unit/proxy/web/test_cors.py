"""Pages of other origins: exactly those that are listed, on the Kobold routes alone."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from chatproxy.core.types import now
from chatproxy.errors import ConfigurationError
from chatproxy.settings import Settings
from tests.unit.proxy.fakes import SHOP, World

LITE = "https://lite.koboldai.net"
LISTED = Settings(trusted_hops=0, kobold_origins=(LITE, "http://localhost:8000"))


def preflight(client: FlaskClient, path: str, origin: str) -> TestResponse:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    return client.options(path, headers={"Origin": origin, **asked})


@pytest.mark.parametrize("path", ["/api/extra/generate/stream", "/api/v1/generate", "/api/extra/perf", "/api/v1/model"])
def test_a_listed_origin_may_send_its_key(path: str) -> None:
    response = preflight(World(settings=LISTED).app.test_client(), path, LITE)
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == LITE
    assert response.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", LITE + ".evil.example", "https://LITE.koboldai.net", LITE + "/", "null", "*"]
)
def test_any_other_origin_gets_no_header_at_all(origin: str) -> None:
    client = World(settings=LISTED).client("kobold")
    for response in (
        preflight(client, "/api/v1/generate", origin),
        client.post("/api/v1/generate", json={"prompt": "P"}, headers={"Origin": origin}),
    ):
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_answers_and_errors_can_be_read_by_the_listed_page() -> None:
    client = World(settings=LISTED).client("kobold")
    for body, status in (({"prompt": "P"}, 200), ({}, 400)):
        response = client.post("/api/v1/generate", json=body, headers={"Origin": LITE})
        assert response.status_code == status
        assert response.headers["Access-Control-Allow-Origin"] == LITE
        assert "Access-Control-Allow-Credentials" not in response.headers


def test_a_listed_origin_still_needs_a_key() -> None:
    client = World(settings=LISTED).app.test_client()
    response = client.post("/api/v1/generate", json={"prompt": "P"}, headers={"Origin": LITE})
    assert response.status_code == 401
    assert client.options("/api/v1/generate", headers={"Origin": LITE}).status_code == 401  # no preflight


@pytest.mark.parametrize("path", ["/api/v1/chat", "/api/v1/conversations", "/api/chat", "/healthz"])
def test_other_families_are_closed_to_it(path: str) -> None:
    response = preflight(World(settings=LISTED).app.test_client(), path, LITE)
    assert "Access-Control-Allow-Origin" not in response.headers


def test_with_nothing_listed_nothing_is_allowed() -> None:
    response = preflight(World().app.test_client(), "/api/v1/generate", LITE)
    assert not [name for name, _ in response.headers if name.startswith("Access-Control")]
    assert "Vary" not in response.headers


VISITORS = [
    ("POST", "/api/v1/chat"),
    ("GET", f"/api/v1/chat/{'0' * 32}/stream"),
    ("POST", f"/api/v1/chat/{'0' * 32}/cancel"),
    ("POST", f"/api/v1/messages/{'0' * 32}/regenerate"),
    ("POST", f"/api/v1/messages/{'0' * 32}/feedback"),
    ("GET", "/api/v1/conversations"),
    ("PATCH", f"/api/v1/conversations/{'0' * 32}"),
    ("DELETE", f"/api/v1/conversations/{'0' * 32}"),
    ("GET", f"/api/v1/conversations/{'0' * 32}/export"),
    ("GET", "/api/v1/widget"),
    ("POST", "/api/v1/visitors"),
]


@pytest.mark.parametrize(("method", "path"), VISITORS)
def test_pages_with_a_site_key_may_call_what_visitors_may(method: str, path: str) -> None:
    world = World()
    world.site(SHOP)
    client = world.app.test_client()
    response = client.options(path, headers={"Origin": SHOP, "Access-Control-Request-Method": method})
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == SHOP
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST, PATCH, DELETE"
    assert (
        response.headers["Access-Control-Allow-Headers"]
        == "Authorization, Content-Type, Idempotency-Key, Last-Event-ID"
    )
    assert response.headers["Access-Control-Max-Age"] == "7200"
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "Origin" in response.headers["Vary"]
    for other in (LITE, "null", SHOP + "/", "http://shop.example", SHOP + ".evil.example"):
        response = client.options(path, headers={"Origin": other, "Access-Control-Request-Method": method})
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    "path", ["/api/v1/generate", "/api/extra/perf", "/v1/chat/completions", "/api/chat", "/healthz"]
)
def test_site_keys_open_no_other_family(path: str) -> None:
    world = World(settings=LISTED)
    world.site(SHOP)
    assert "Access-Control-Allow-Origin" not in preflight(world.app.test_client(), path, SHOP).headers
    users = "/api/v1/users/somebody"
    assert "Access-Control-Allow-Origin" not in preflight(world.app.test_client(), users, SHOP).headers


def test_a_page_reads_why_its_token_ended() -> None:
    world = World()
    world.site(SHOP)
    headers = {"Origin": SHOP, "Authorization": "Bearer kv_old"}
    response = world.app.test_client().post("/api/v1/chat", json={"message": "Hi"}, headers=headers)
    assert response.status_code == 401
    assert response.headers["Access-Control-Allow-Origin"] == SHOP
    exposed = "Retry-After, X-Request-Id, X-Conversation-Id, X-Message-Id"
    assert response.headers["Access-Control-Expose-Headers"] == exposed


def test_a_revoked_site_keys_origin_is_closed() -> None:
    world = World()
    world.sites.revoke(world.site(SHOP), now())
    assert "Access-Control-Allow-Origin" not in preflight(world.app.test_client(), "/api/v1/chat", SHOP).headers


def test_the_setting_takes_origins_as_browsers_send_them() -> None:
    given = {"KOBOLD_ORIGINS": "https://lite.koboldai.net, http://localhost:8000"}
    assert Settings.from_environment(given).kobold_origins == LISTED.kobold_origins
    for bad in ("*", "lite.koboldai.net", LITE + "/", "https://LITE.koboldai.net", LITE + ",", "null"):
        with pytest.raises(ConfigurationError, match="KOBOLD_ORIGINS"):
            Settings.from_environment({"KOBOLD_ORIGINS": bad})
