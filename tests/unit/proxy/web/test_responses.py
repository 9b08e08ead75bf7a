"""Errors are JSON everywhere, answers carry an id and safe headers, logs hold neither content nor keys."""

from __future__ import annotations

import logging
import re

import pytest
from flask import Blueprint, Flask

from chatproxy.core.tally import Tally
from chatproxy.settings import Settings
from chatproxy.web import responses
from tests.unit.proxy.fakes import FakeCheck, World
from tests.unit.proxy.routes import routes

PAGES = {"/widget.js", "/chat", "/embed", "/demo"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/static/x", 404, "not_found"),
        ("POST", "/api//v1/chat", 404, "not_found"),
        ("GET", "/api/v1/chat", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_errors_outside_of_any_route_are_json(method: str, path: str, status: int, code: str) -> None:
    response = World().app.test_client().open(path, method=method)
    assert response.status_code == status
    assert response.json is not None
    assert response.json["error"]["code"] == code
    if status == 405:
        assert response.headers["Allow"]


@pytest.mark.parametrize(("method", "rule"), routes())
def test_no_address_is_redirected(method: str, rule: str) -> None:
    path = re.sub(r"<(?:\w+:)?\w+>", "x", rule)
    for changed in (path + "/", path.rstrip("/"), path.replace("/", "//"), path.replace("/", "//", 1)):
        response = World().client().open(changed, method=method, data=b"{}")
        assert response.status_code not in range(300, 400)
        as_asked = {"text/event-stream"} | ({"text/html", "text/javascript"} if rule in PAGES else set())
        assert response.is_json or response.mimetype in as_asked


def test_too_large_a_body_is_413_in_json() -> None:
    client = World(settings=Settings(trusted_hops=0, max_body_bytes=1024)).client()
    response = client.post("/api/v1/chat", json={"message": "x" * 2000})
    assert response.status_code == 413
    assert response.json == {"error": {"code": "too_large", "message": "The request is too large."}}


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/api/v1/conversations"])
def test_every_answer_has_an_id_and_safe_headers(path: str) -> None:
    headers = World().app.test_client().get(path).headers
    assert len(headers["X-Request-Id"]) == 32
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"


def test_logs_hold_route_status_and_key_id_but_no_content_and_no_key(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    key = world.key()
    with caplog.at_level(logging.DEBUG):
        headers = {"Authorization": f"Bearer {key}"}
        client = world.app.test_client()
        response = client.post("/api/v1/chat", json={"message": "my illness"}, headers=headers)
        response.close()
        client.get(f"/{key}?q=my+illness", headers=headers).close()
    assert "POST /api/v1/chat status=200 key=" in caplog.text
    assert response.headers["X-Request-Id"] in caplog.text
    for private in (key, key[-32:], "illness", "Hello there"):
        assert private not in caplog.text


def test_healthz_asks_nobody() -> None:
    world = World(checks=[FakeCheck("mongo", "down")])
    world.history.down = True
    assert world.app.test_client().get("/healthz").json == {"status": "ok"}


def test_readyz_names_each_dependency() -> None:
    world = World(checks=[FakeCheck("engine"), FakeCheck("mongo", "cannot be reached")])
    response = world.app.test_client().get("/readyz")
    assert response.status_code == 503
    assert response.json == {
        "status": "not ready",
        "checks": {"engine": {"ok": True}, "mongo": {"ok": False, "reason": "cannot be reached"}},
        "engine": {"model": "model", "slots": 1, "busy": 0, "waiting": 0, "held": False},
    }


def test_readyz_is_200_when_all_is_well() -> None:
    response = World().app.test_client().get("/readyz")
    assert response.status_code == 200
    assert response.json is not None
    assert response.json["status"] == "ready"


class _BrokenCheck:
    name = "odd"

    def check(self) -> None:
        raise RuntimeError("password is hunter2")


def test_a_check_that_fails_itself_is_named_without_its_words() -> None:
    response = World(checks=[_BrokenCheck()]).app.test_client().get("/readyz")
    assert response.status_code == 503
    assert "hunter2" not in response.get_data(as_text=True)


def test_requests_are_counted_by_family_and_class_of_status_never_by_path() -> None:
    app, tally = Flask("chatproxy"), Tally()
    responses.install(app, {}, tally)
    routes = Blueprint("family", __name__)
    routes.get("/secret/<name>")(lambda name: name)
    app.register_blueprint(routes)
    client = app.test_client()
    client.get("/secret/of-somebody")
    client.get("/nowhere")
    client.post("/secret/of-somebody")
    assert tally.totals().requests == {("family", "2xx"): 1, ("", "4xx"): 2}
