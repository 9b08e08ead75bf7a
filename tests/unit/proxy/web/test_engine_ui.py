"""The engine's page behind the proxy: who may ask, what comes back, what is told when nothing does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, TestResponse

from chatproxy.core.engine_pages import PageEvent, PageRequest
from chatproxy.core.engine_ui import EngineUi
from chatproxy.core.slots import Gate
from chatproxy.errors import EngineFailure, EngineTimeout
from chatproxy.web import engine_ui
from tests.unit.proxy.fakes import FakeEnginePages, shows
from tests.unit.proxy.waiting import until

HOST = "10.13.13.1:5001"
OWN = f"http://{HOST}"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}


class _Browser(FlaskClient):
    """Calls by the address that people use, and reads answers to their end as a server sends them."""

    def open(self, *args: Any, **options: Any) -> TestResponse:
        return super().open(*args, **{"base_url": OWN, "buffered": True, **options})


class Page:
    """The application on a fake engine, with one slot and one place to wait."""

    def __init__(self) -> None:
        self.engine = FakeEnginePages()
        self.gate = Gate(slots=1, queue=1)
        self.app = engine_ui.create(EngineUi(self.engine, self.gate), engine="a server <with> OpenAI's API")

    @property
    def client(self) -> FlaskClient:
        self.app.test_client_class = _Browser
        return self.app.test_client()

    def idle(self) -> bool:
        status = self.gate.status()
        return (status.busy, status.waiting) == (0, 0)


@pytest.fixture
def page() -> Page:
    return Page()


def test_the_engines_answer_is_passed_on(page: Page) -> None:
    page.engine.script = lambda _: shows("par", "ts", status=418, content_type="text/x", content_encoding="gzip")
    answer = page.client.get("/lcpp?a=%2F", headers={"Accept-Encoding": "gzip"})
    assert (answer.status_code, answer.data) == (418, b"parts")
    assert (answer.headers["Content-Type"], answer.headers["Content-Encoding"]) == ("text/x", "gzip")
    ((request, computes),) = page.engine.asked
    assert (request.method, request.target, computes) == ("GET", "/lcpp?a=%2F", False)
    assert page.engine.closed == 1


def test_nothing_may_frame_it_and_no_other_rule_stands_in_its_way(page: Page) -> None:
    headers = page.client.get("/").headers
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not [name for name, _ in headers if name.lower().startswith("access-control-")]


def test_what_computes_has_its_body_passed_on_and_frees_its_slot(page: Page) -> None:
    assert page.client.post("/v1/completions", data=b'{"prompt": "x"}').data == b"hello"
    ((request, computes),) = page.engine.asked
    assert (request.body, computes) == (b'{"prompt": "x"}', True)
    assert page.idle()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_answers_without_a_body_give_back_what_they_hold(page: Page, method: str) -> None:
    page.engine.script = lambda _: shows(status=304)
    for _ in range(8):
        assert page.client.open("/", method=method).status_code == 304
    assert page.engine.closed == 8


@pytest.mark.parametrize("location", ["http://[bad", "http://x:99999/"])
def test_a_header_that_cannot_be_written_is_the_engines_failure_and_holds_nothing(page: Page, location: str) -> None:
    page.engine.script = lambda _: shows("moved", status=302, location=location)
    for _ in range(8):  # more than have room at a time
        assert page.client.get("/").status_code == 502
        assert page.client.post("/v1/completions", data=b"{}").status_code == 502
    assert page.engine.closed == 16
    assert page.idle()


def test_a_server_that_cannot_write_the_head_keeps_neither_room_nor_slot(page: Page) -> None:
    def start_response(*_: object) -> None:
        raise ConnectionError

    for path in ["/v1/completions"] * 8 + ["/"] * 8:
        environ = EnvironBuilder(path, base_url=OWN, method="POST" if path != "/" else "GET").get_environ()
        with pytest.raises(ConnectionError):
            page.app(environ, start_response)  # type: ignore[arg-type]
        assert page.idle()
    assert page.engine.closed == 16
    page.engine.script = lambda _: shows("well")
    assert page.client.get("/").data == page.client.post("/v1/completions").data == b"well"


# --- who may ask ----------------------------------------------------------------------------------------------------

NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
ALLOWED: list[tuple[str, dict[str, str]]] = [
    ("GET", {}),
    ("POST", {"Origin": OWN}),
    ("POST", {"Origin": OWN, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}),
    ("GET", {"Sec-Fetch-Site": "none", **NAVIGATION}),
    ("GET", {"Sec-Fetch-Site": "cross-site", **NAVIGATION}),
    ("GET", {"Sec-Fetch-Site": "same-site", **NAVIGATION}),
]
REFUSED: list[tuple[str, dict[str, str]]] = [
    ("POST", {"Origin": "https://evil.example"}),
    ("POST", {"Origin": "null"}),
    ("POST", {"Origin": "http://10.13.13.1"}),
    ("POST", {"Origin": f"https://{HOST}"}),
    ("GET", {"Origin": "http://10.13.13.1:3000"}),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
    ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
    ("POST", {"Sec-Fetch-Site": "cross-site", **NAVIGATION}),
    ("POST", {"Sec-Fetch-Site": "sideways"}),
]


@pytest.mark.parametrize(("method", "headers"), ALLOWED)
def test_the_page_itself_and_people_may_ask(page: Page, method: str, headers: dict[str, str]) -> None:
    assert page.client.open("/api/v1/generate", method=method, headers=headers).status_code == 200


@pytest.mark.parametrize(("method", "headers"), REFUSED)
def test_other_sites_may_not(page: Page, method: str, headers: dict[str, str]) -> None:
    answer = page.client.open("/api/v1/generate", method=method, headers=headers)
    assert (answer.status_code, answer.get_json()["error"]["type"]) == (403, "origin_not_allowed")
    assert (page.engine.asked, page.idle()) == ([], True)


def test_a_get_makes_nothing_compute(page: Page) -> None:
    assert page.client.get("/voice/vits?text=Hello").status_code == 403
    assert page.engine.asked == []


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "TRACE"])
def test_methods_that_no_page_uses_are_refused(page: Page, method: str) -> None:
    assert page.client.open("/", method=method).status_code == 405
    assert page.engine.asked == []


@pytest.mark.parametrize("target", ["//x/", "/a/../b", "/%2e%2e/b", "/a%2Fb", "/a%0d%0aX:1", "http://x/", "/a\\b"])
def test_strange_addresses_are_refused(page: Page, target: str) -> None:
    answer = page.client.get("/", environ_overrides={"RAW_URI": target, "REQUEST_URI": target})
    assert (answer.status_code, answer.get_json()["detail"]["type"]) == (400, "invalid_request")
    assert page.engine.asked == []


def test_a_body_beyond_koboldcpps_limit_is_refused(page: Page) -> None:
    size = (32 << 20) + 1
    answer = page.client.post("/api/extra/tokencount", environ_overrides={"CONTENT_LENGTH": str(size)})
    assert answer.status_code == 413
    assert page.engine.asked == []


# --- when there is no answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "status"), [(EngineFailure("engine:5001 refused"), 502), (EngineTimeout("x"), 504)])
def test_an_engine_that_is_away_is_told_with_what_to_do(page: Page, error: Exception, status: int) -> None:
    page.engine.script = lambda _: [error]
    shown = page.client.get("/", headers=BROWSER)
    assert (shown.status_code, shown.mimetype) == (status, "text/html")
    assert "make logs SERVICE=engine" in shown.text
    assert "refused" not in shown.text
    asked = page.client.post("/api/v1/generate", data=b"{}")
    told: dict[str, Any] = asked.get_json()
    assert asked.status_code == status
    assert "make status" in told["detail"]["msg"]
    assert told["error"]["message"] == told["detail"]["msg"]
    assert page.idle()


def test_a_full_queue_is_told_where_both_pages_look(page: Page) -> None:
    page.gate.enter("key:visitor")
    page.gate.enter("key:visitor")
    answer = page.client.post("/api/extra/generate/stream", data=b"{}")
    told = answer.get_json()
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert (
        told["detail"]["msg"]
        == told["error"]["message"]
        == "All places in the queue are taken. Please try again shortly."
    )


def test_an_engine_without_a_page_is_named(page: Page) -> None:
    page.engine.script = lambda _: shows('{"detail": "Not Found"}', status=404)
    shown = page.client.get("/")
    assert shown.status_code == 404
    assert "a server &lt;with&gt; OpenAI&#x27;s API" in shown.text
    assert page.engine.closed == 1
    assert page.client.get("/favicon.ico").data == b'{"detail": "Not Found"}'


def test_an_answer_that_breaks_off_is_not_taken_for_whole(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    page.engine.script = lambda _: [*shows("some"), EngineFailure("died")]
    with pytest.raises(EngineFailure):
        page.client.post("/v1/completions", data=b"{}")
    assert page.idle()
    assert "engine_error in mid-answer" in caplog.text


# --- aborting -------------------------------------------------------------------------------------------------------

ENDED = {
    "/api/v1/generate": b'{"results":[{"text":"","finish_reason":"length"}]}',
    "/api/extra/generate/stream": b'event: message\ndata: {"token": "", "finish_reason": "length"}\n\n',
}


@pytest.mark.parametrize("path", ENDED)
def test_an_abort_ends_a_generation_that_waits(page: Page, path: str) -> None:
    page.gate.enter("key:visitor")
    answers: list[tuple[int, bytes]] = []

    def generate() -> None:
        answer = page.client.post(path, json={"prompt": "x", "genkey": "KCPP1"})
        answers.append((answer.status_code, answer.data))

    thread = threading.Thread(target=generate)
    thread.start()
    until(lambda: page.gate.status().waiting)
    assert page.client.post("/api/extra/abort", json={"genkey": "KCPP1"}).get_json()["success"] == "true"
    thread.join(5)
    assert answers == [(200, ENDED[path])]
    assert page.engine.asked == []


def test_an_abort_of_what_runs_is_the_engines(page: Page) -> None:
    assert page.client.post("/api/extra/abort", json={"genkey": "KCPP1"}).data == b"hello"
    ((request, computes),) = page.engine.asked
    assert (request.target, computes) == ("/api/extra/abort", False)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"genkey": ""}', b'{"genkey": 1}', b"[]", b"no JSON"])
def test_an_abort_without_a_name_does_not_end_what_is_somebody_elses(page: Page, body: bytes) -> None:
    page.gate.enter("key:visitor")
    answer = page.client.post("/api/extra/abort", data=body)
    assert (answer.status_code, answer.get_json()) == (200, {"success": "true", "done": "true"})
    assert page.engine.asked == []


def test_an_abort_without_a_name_ends_what_the_page_generates_without_one(page: Page) -> None:
    aborted = threading.Event()

    def script(request: PageRequest) -> Generator[PageEvent | Exception]:
        if request.target == "/api/extra/abort":
            aborted.set()
        while not aborted.wait(0.01):
            yield None
        yield from shows("ended")

    page.engine.script = script
    thread = threading.Thread(target=lambda: page.client.post("/api/v1/generate", json={"prompt": "x"}))
    thread.start()
    until(lambda: page.engine.asked)
    assert page.client.post("/api/extra/abort", json={"genkey": ""}).data == b"ended"
    thread.join(5)
    assert not thread.is_alive()
    assert page.client.post("/api/extra/abort").get_json()["success"] == "true"
    assert len(page.engine.asked) == 2


def test_abort_goes_through_while_stories_take_every_place(page: Page) -> None:
    page.gate = Gate(slots=1, queue=20)
    page.app = engine_ui.create(EngineUi(page.engine, page.gate), engine="x")
    visitor = page.gate.enter("key:visitor")
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(page.client.post("/v1/completions", data=b"{}").status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    until(lambda: page.gate.status().waiting == 6 and statuses == [503, 503])
    begun = time.monotonic()
    assert page.client.post("/api/extra/abort", json={"genkey": "KCPP9"}).status_code == 200
    assert time.monotonic() - begun < 1
    page.gate.leave(visitor)
    for thread in threads:
        thread.join(5)
    assert sorted(statuses) == [200] * 6 + [503] * 2
    assert page.idle()


def test_the_log_names_the_route_and_nothing_that_was_written(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    page.client.post("/secret-path?q=secret-query", json={"prompt": "secret-prompt"})
    page.client.post("/api/extra/tokencount", json={"prompt": "secret-prompt"})
    assert "secret" not in caplog.text
    assert "POST /<path:rest> status=200" in caplog.text
    assert "POST /api/extra/tokencount status=200" in caplog.text
