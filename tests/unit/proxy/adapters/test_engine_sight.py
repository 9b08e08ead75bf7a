"""What an engine sees in a picture: koboldcpp's double over real sockets, and llama.cpp's way of telling."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from chatproxy.adapters.engine_sight import EngineSight
from chatproxy.errors import EngineFailure
from tests.doubles.koboldcpp import Fault, KoboldcppDouble
from tests.doubles.koboldcpp.faults import FaultKind

PICTURE = b"\x89PNG\r\n\x1a\n..."
REPLY = ["A", " red", " door", "."]


def sight(*urls: str, api: str = "koboldcpp", timeout_s: float = 10) -> EngineSight:
    return EngineSight(urls, api=api, model="m", timeout_s=timeout_s)


@contextmanager
def answering(props: Any, status: int = 200) -> Iterator[str]:
    """A server whose GET /props is this; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(props).encode()
            self.send_response(status if self.path == "/props" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_koboldcpp_is_given_the_picture_under_a_key_of_its_own() -> None:
    with KoboldcppDouble(reply=REPLY, vision=True) as engine:
        looking = sight(engine.url)
        assert looking.sees()
        assert looking.describe(PICTURE, "image/png") == "A red door."
        order = engine.requests[-1].json
    image = order["messages"][0]["content"][1]["image_url"]["url"]
    assert image == f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    assert len(order["genkey"]) == 32
    assert order["max_tokens"] <= 300


def test_an_engine_without_vision_is_asked_nothing_more() -> None:
    with KoboldcppDouble() as engine:
        assert not sight(engine.url).sees()
        assert [request.path for request in engine.requests] == ["/api/extra/version"]


def test_of_several_engines_the_one_that_sees_is_asked() -> None:
    with KoboldcppDouble() as blind, KoboldcppDouble(reply=REPLY, vision=True) as seeing:
        looking = sight("http://127.0.0.1:9", blind.url, seeing.url)
        assert looking.describe(PICTURE, "image/png") == "A red door."


def test_an_engine_that_is_gone_is_a_failure_with_its_reason() -> None:
    with pytest.raises(EngineFailure, match="cannot be asked: connection refused"):
        sight("http://127.0.0.1:9").sees()


def test_an_engine_that_falls_silent_is_told_to_stop() -> None:
    with KoboldcppDouble(reply=REPLY, vision=True) as engine:
        engine.fault = Fault(FaultKind.SILENCE)
        with pytest.raises(EngineFailure, match=r"no answer within 0\.5 s"):
            sight(engine.url, timeout_s=0.5).describe(PICTURE, "image/png")
        engine.fault = None
        assert engine.requests[-1].path == "/api/extra/abort"
        assert engine.requests[-1].json["genkey"] == engine.requests[-2].json["genkey"]


def test_a_busy_engine_is_a_failure() -> None:
    with KoboldcppDouble(reply=REPLY, vision=True) as engine:
        engine.fault = Fault(FaultKind.BUSY)
        with pytest.raises(EngineFailure, match="HTTP 503"):
            sight(engine.url).describe(PICTURE, "image/png")


@pytest.mark.parametrize("reply", [[], [" ", "\n"]])
def test_an_engine_with_nothing_to_say_is_a_failure(reply: list[str]) -> None:
    with KoboldcppDouble(reply=reply, vision=True) as engine, pytest.raises(EngineFailure, match="nothing to say"):
        sight(engine.url).describe(PICTURE, "image/png")


@pytest.mark.parametrize(
    ("props", "sees"),
    [
        ({"modalities": {"vision": True, "audio": False}}, True),
        ({"modalities": {"vision": False}}, False),
        ({"modalities": None}, False),
        ({}, False),
        ([], False),
    ],
)
def test_llama_cpps_server_tells_in_its_properties(props: Any, sees: bool) -> None:
    with answering(props) as url:
        assert sight(url, api="openai").sees() is sees


def test_a_server_that_tells_nothing_is_taken_for_blind() -> None:
    with answering({}, status=404) as url:
        assert not sight(url, api="openai").sees()
