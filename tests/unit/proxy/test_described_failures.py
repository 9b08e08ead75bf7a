"""When engine, database or budget fail, routes answer exactly those errors that /openapi.json has for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from flask.testing import FlaskClient
from schemathesis.checks import CHECKS
from werkzeug.test import TestResponse

from chatproxy.core.access import Limits
from chatproxy.core.crawling import Scope
from chatproxy.core.types import Text
from chatproxy.errors import (
    Busy,
    ChatProxyError,
    EngineFailure,
    EngineTimeout,
    MailFailed,
    SearchUnavailable,
    StorageUnavailable,
)
from tests.unit.proxy.described import check_stream, example_body, operations, success
from tests.unit.proxy.fakes import World

DOCUMENT: dict[str, Any] = World().app.test_client().get("/openapi.json").get_json()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
CONFORMS = CHECKS.get_by_names(
    [
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
OPERATIONS = operations(DOCUMENT)


def _documents(method: str, path: str, status: str) -> bool:
    return status in DOCUMENT["paths"][path][method]["responses"]


def _streams(method: str, path: str) -> bool:
    content = success(DOCUMENT, method, path).get("content", {})
    return bool(content.keys() & {"text/event-stream", "application/x-ndjson"})


class Asked:
    """A world in which one question has been asked and answered, but for its end."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008  (it is frozen)
        self.world = World()
        self.client: FlaskClient = self.world.client("chat", "kobold", "admin", limits=limits)
        asked = self.client.post("/api/v1/chat", json={"message": "Hello"})
        self.ids = {name: asked.get_json()[name] for name in ("conversation_id", "message_id")}
        source, job = self.world.knowledge.library.add_website("site", Scope(start=("http://a.example/",)))
        self.ids |= {"source_id": source.id, "job_id": job.id}
        # As after a crash: what resumes it needs the engine.
        for messages in self.world.history.stored.values():
            messages[-1] = replace(messages[-1], status="interrupted", finish_reason=None)

    def call(self, method: str, path: str, *, streamed: bool = False) -> TestResponse:
        """Call the operation with its example, and hold the answer against the description."""
        names = {**self.ids, "user_id": "anybody", "model": "assistant", "version": "1", "name": "style.css"}
        response = self.client.open(
            path.format(**names), method=method, json=example_body(DOCUMENT, method, path, streamed=streamed)
        )
        SCHEMA[path][method.upper()].Case(path_parameters=names).validate_response(response, checks=CONFORMS)
        check_stream(DOCUMENT, path, method, response.content_type, response.get_data(as_text=True))
        return response


@pytest.mark.parametrize("error", [EngineFailure(), EngineTimeout()], ids=lambda error: error.code)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_engine_that_is_gone(method: str, path: str, error: ChatProxyError) -> None:
    asked = Asked()
    engine = asked.world.engine
    engine.script, engine.count_error, engine.context_error = [error], error, error
    asked.world.embedder.error = EngineFailure()
    asked.world.passages.error = SearchUnavailable()
    assert asked.world.mailer is not None
    asked.world.mailer.error = MailFailed()
    response = asked.call(method, path)
    # A resumed answer is a stream from the beginning.
    told = response.mimetype == "text/event-stream" and f'"{error.code}"' in response.get_data(as_text=True)
    assert (response.status_code == error.status or told) == _documents(method, path, str(error.status))


@pytest.mark.parametrize(
    ("method", "path"), [each for each in OPERATIONS if _streams(*each) and _documents(*each, "504")]
)
@pytest.mark.parametrize("error", [EngineFailure(), EngineTimeout(), Busy(retry_after=5)], ids=lambda error: error.code)
def test_an_engine_that_dies_in_mid_stream(method: str, path: str, error: ChatProxyError) -> None:
    asked = Asked()
    asked.world.engine.script = [Text("Once"), error]
    response = asked.call(method, path, streamed=True)
    assert response.status_code == 200
    assert error.public in response.get_data(as_text=True)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_database_that_is_gone(method: str, path: str) -> None:
    asked = Asked()
    asked.world.history.down = True
    asked.world.passages.error = StorageUnavailable()
    asked.world.knowledge.sources.down = asked.world.knowledge.jobs.down = True
    keeps = DOCUMENT["paths"][path][method]["tags"][0] in ("native", "knowledge")
    assert (asked.call(method, path).status_code == 503) == keeps


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if _documents(*each, "504")])
def test_a_budget_that_is_used_up(method: str, path: str) -> None:
    response = Asked(Limits(requests_per_minute=1)).call(method, path)
    if method == "get" and not _streams(method, path):
        assert response.status_code == 200  # a size, which costs the engine nothing
    elif path == "/api/show" or (path.endswith("/stream") and method == "get"):
        assert response.status_code == 200  # whoever goes on with an answer has asked for it already
    else:
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) >= 1
