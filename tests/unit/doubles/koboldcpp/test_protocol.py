"""The double answers as koboldcpp does, where clients have been seen to stumble."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.koboldcpp import KoboldcppDouble
from tests.doubles.koboldcpp.slot import CORRUPTED_REPLY

ROOT = Path(__file__).resolve().parents[4]
GENERATE = "/api/v1/generate"
STREAM = "/api/extra/generate/stream"


@pytest.fixture
def engine() -> Iterator[KoboldcppDouble]:
    with KoboldcppDouble(version="1.76", first_event_delay=0.02) as double:
        yield double


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.version = response.version
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(event.split("data: ", 1)[1]) for event in self.body.decode().split("\n\n") if event]

    @property
    def streamed_text(self) -> str:
        return "".join(event["token"] for event in self.events)


def call(
    engine: KoboldcppDouble, path: str, body: Any = None, *, method: str = "", headers: dict[str, str] | None = None
) -> Answer:
    connection = http.client.HTTPConnection(engine.host, engine.port, timeout=5)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, data, headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def in_background(*arguments: Any, **keywords: Any) -> threading.Thread:
    thread = threading.Thread(target=call, args=arguments, kwargs=keywords, daemon=True)
    thread.start()
    return thread


def wait_until(condition: Any, seconds: float = 3.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("path", [GENERATE, GENERATE + "/", "/api/latest/generate", "/proxied" + GENERATE])
def test_generates_on_each_spelling_of_the_path(engine: KoboldcppDouble, path: str) -> None:
    answer = call(engine, path, {"prompt": "Hi"})
    assert answer.version == 10
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json == {"results": [{"text": "Hello there.", "finish_reason": "stop"}]}
    assert engine.requests[-1].json == {"prompt": "Hi"}


def test_newer_versions_report_token_counts() -> None:
    with KoboldcppDouble(version="1.115.1", reply=["a", "b"]) as engine:
        result = call(engine, GENERATE, {"prompt": "one two"}).json["results"][0]
    assert (result["prompt_tokens"], result["completion_tokens"]) == (3, 2)


def test_a_stop_sequence_stays_in_the_text_and_is_called_length(engine: KoboldcppDouble) -> None:
    engine.reply = ["Yes", "<|us", "er|>", " more"]
    request = {"prompt": "Hi", "stop_sequence": ["<|user|>"]}
    result = call(engine, GENERATE, request).json["results"][0]
    assert result == {"text": "Yes<|user|>", "finish_reason": "length"}
    assert call(engine, "/api/extra/perf").json["stop_reason"] == 2
    trimmed = call(engine, GENERATE, request | {"trim_stop": True}).json["results"][0]
    assert trimmed == {"text": "Yes", "finish_reason": "length"}


def test_max_length_ends_with_length_and_eos_can_be_banned(engine: KoboldcppDouble) -> None:
    assert call(engine, GENERATE, {"prompt": "", "max_length": 1}).json["results"][0]["finish_reason"] == "length"
    banned = call(engine, GENERATE, {"prompt": "", "max_length": 7, "ban_eos_token": True}).json["results"][0]
    assert banned == {"text": "Hello there." * 2 + "Hello", "finish_reason": "length"}


@pytest.mark.parametrize(("version", "pending"), [("1.74", "null"), ("1.76", "null"), ("1.115.1", None)])
def test_stream_frames_and_pending_finish_reason(version: str, pending: str | None) -> None:
    with KoboldcppDouble(version=version, token_delay=0.1, first_event_delay=0.01) as engine:
        answer = call(engine, STREAM, {"prompt": "Hi"})
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.body.startswith(b"event: message\ndata: {")
    assert b"[DONE]" not in answer.body
    assert answer.streamed_text == "Hello there."
    assert [event["finish_reason"] for event in answer.events] == [pending] * 3 + ["stop"]


def test_tokens_that_come_fast_are_bundled(engine: KoboldcppDouble) -> None:
    assert call(engine, STREAM, {"prompt": "Hi"}).events == [{"token": "Hello there.", "finish_reason": "stop"}]


def test_a_character_split_over_tokens_is_sent_whole(engine: KoboldcppDouble) -> None:
    engine.slot.token_delay = 0.06
    first, last = "日".encode()[:2], "日".encode()[2:]
    engine.reply = ["a", first, last, "b"]
    assert call(engine, STREAM, {"prompt": "Hi"}).streamed_text == "a日b"


def test_a_stop_sequence_that_spans_bundles_leaks_its_first_part(engine: KoboldcppDouble) -> None:
    engine.slot.token_delay = 0.06
    engine.reply = ["Yes <|us", "er|>"]
    answer = call(engine, STREAM, {"prompt": "Hi", "stop_sequence": ["<|user|>"], "trim_stop": True})
    assert answer.streamed_text.startswith("Yes <|us")


@pytest.mark.parametrize("fields", [{"temperature": None}, {"max_length": "80"}, {"prompt": 5}, {"stop_sequence": 7}])
def test_wrong_types_give_null(engine: KoboldcppDouble, fields: dict[str, Any]) -> None:
    answer = call(engine, GENERATE, {"prompt": "Hi"} | fields)
    assert (answer.status, answer.body) == (200, b"null")


def test_newer_versions_parse_numbers_but_not_texts() -> None:
    with KoboldcppDouble(version="1.115.1") as engine:
        assert call(engine, GENERATE, {"prompt": "Hi", "temperature": None, "max_length": "1"}).json["results"]
        assert call(engine, GENERATE, {"prompt": 5}).body == b"null"


def test_wrong_types_on_a_stream_give_headers_then_silence() -> None:
    with KoboldcppDouble(version="1.76", threads=2) as engine:
        body = json.dumps({"prompt": "Hi", "temperature": None}).encode()
        with socket.create_connection((engine.host, engine.port), timeout=0.5) as client:
            client.sendall(b"POST %s HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (STREAM.encode(), len(body), body))
            received = b""
            with pytest.raises(TimeoutError):
                while True:
                    received += client.recv(4096)
            assert received.startswith(b"HTTP/1.0 200") and received.endswith(b"\r\n\r\n")
            assert call(engine, "/api/extra/perf").json["idle"] == 1  # the slot is free, the thread is not


def test_bad_json_array_and_chunked_bodies(engine: KoboldcppDouble) -> None:
    answer = call(engine, GENERATE, b"{")
    assert (answer.status, answer.json) == (500, {"detail": {"msg": "Error parsing input.", "type": "bad_input"}})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        call(engine, GENERATE, b"[]")
    with socket.create_connection((engine.host, engine.port), timeout=5) as client:
        client.sendall(b"POST %s HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" % GENERATE.encode())
        assert client.recv(4096).startswith(b"HTTP/1.0 500")  # the chunks are not waited for
    assert call(engine, GENERATE, {"prompt": "Hi"}).status == 200  # the slot was given back each time


def test_too_long_a_prompt_loses_its_front_silently() -> None:
    with KoboldcppDouble(context_size=256) as engine:
        prompt = " ".join(f"w{n}" for n in range(300))
        answer = call(engine, GENERATE, {"prompt": prompt, "memory": "SYSTEM", "max_length": 100})
        assert answer.status == 200
        generation = engine.generations[-1]
    assert generation.dropped_tokens == 300 - (256 - 100 - 1 - 1)
    assert generation.prompt_read.startswith("SYSTEM w1") and generation.prompt_read.endswith("w299")


def test_tokencount_counts_bos_and_control_strings_as_one(engine: KoboldcppDouble) -> None:
    answer = call(engine, "/api/extra/tokencount", {"prompt": "a<|im_end|>b"}).json
    assert answer["value"] == 4 and answer["ids"][0] == 1 and answer["ids"][2] < 100
    assert call(engine, "/api/extra/tokencount", {"prompt": "a", "special": False}).json["value"] == 1
    assert call(engine, "/api/extra/tokencount", {"prompt": None}).status == 400


def test_full_queue_refuses_at_once() -> None:
    with KoboldcppDouble(multiuser=2, token_delay=0.3) as engine:
        running = in_background(engine, GENERATE, {"prompt": "1"})
        wait_until(lambda: engine.slot.busy)
        waiting = in_background(engine, GENERATE, {"prompt": "2"})
        wait_until(lambda: engine.slot.waiting == 1)
        refused = call(engine, GENERATE, {"prompt": "3"})
        assert refused.status == 503 and "retry-after" not in refused.headers
        assert call(engine, "/api/extra/perf").json["queue"] == 1
        running.join(5)
        waiting.join(5)
    assert [generation.parameters.prompt for generation in engine.generations] == ["1", "2"]


def test_abort_and_check_by_key() -> None:
    with KoboldcppDouble(token_delay=0.1, reply=["x"] * 100) as engine:
        running = in_background(engine, GENERATE, {"prompt": "1", "genkey": "mine", "max_length": 100})
        wait_until(lambda: engine.generations and engine.generations[0].tokens)
        assert call(engine, "/api/extra/generate/check", {"genkey": "mine"}).json["results"][0]["text"]
        assert call(engine, "/api/extra/generate/check").json["results"][0]["text"] == ""
        assert call(engine, "/api/extra/abort", {"genkey": "other"}).json["success"] == "false"
        assert call(engine, "/api/extra/abort", {"genkey": "mine"}).json == {"success": "true", "done": "true"}
        running.join(2)
        assert not running.is_alive()


def test_keyless_output_can_be_read_by_anybody(engine: KoboldcppDouble) -> None:
    call(engine, GENERATE, {"prompt": "secret"})
    assert call(engine, "/api/extra/generate/check").json["results"][0]["text"] == "Hello there."


@pytest.mark.parametrize(("version", "corrupted"), [("1.76", True), ("1.115.1", False)])
def test_abort_while_the_prompt_is_read_corrupts_the_old_cache(version: str, corrupted: bool) -> None:
    with KoboldcppDouble(version=version, first_token_delay=2) as engine:
        running = in_background(engine, GENERATE, {"prompt": "same", "genkey": "k"})
        wait_until(lambda: engine.generations)
        call(engine, "/api/extra/abort", {"genkey": "k"})
        running.join(2)
        engine.slot.first_token_delay = 0
        text = call(engine, GENERATE, {"prompt": "same"}).json["results"][0]["text"]
    assert (text == "".join(CORRUPTED_REPLY)) is corrupted


def leave_after_first_bytes(engine: KoboldcppDouble, path: str) -> None:
    body = json.dumps({"prompt": "Hi", "max_length": 100}).encode()
    with socket.create_connection((engine.host, engine.port), timeout=5) as client:
        client.sendall(b"POST %s HTTP/1.0\r\ncontent-length: %d\r\n\r\n%s" % (path.encode(), len(body), body))
        wait_until(lambda: engine.generations and engine.generations[0].tokens)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def test_a_stream_stops_when_its_client_leaves_but_a_whole_answer_runs_on() -> None:
    with KoboldcppDouble(token_delay=0.02, reply=["x"] * 50, first_event_delay=0.02) as engine:
        leave_after_first_bytes(engine, STREAM)
        wait_until(lambda: engine.generations[0].done.is_set())
        assert engine.generations[0].aborted and len(engine.generations[0].tokens) < 50
    with KoboldcppDouble(token_delay=0.02, reply=["x"] * 50) as engine:
        leave_after_first_bytes(engine, GENERATE)
        wait_until(lambda: engine.generations[0].done.is_set())
        assert len(engine.generations[0].tokens) == 50


def test_idle_connections_block_everything() -> None:
    with KoboldcppDouble(threads=2) as engine:
        idle = [socket.create_connection((engine.host, engine.port)) for _ in range(2)]
        time.sleep(0.1)
        with pytest.raises(TimeoutError):
            connection = http.client.HTTPConnection(engine.host, engine.port, timeout=0.3)
            connection.request("GET", "/api/extra/perf")
            connection.getresponse()
        for client in idle:
            client.close()
        assert call(engine, "/api/extra/perf").status == 200


def test_the_password_guards_generation_but_not_status() -> None:
    with KoboldcppDouble(password="pw") as engine:
        assert call(engine, GENERATE, {"prompt": "Hi"}).status == 401
        assert call(engine, GENERATE, {"prompt": "Hi"}, headers={"Authorization": "Bearer pw"}).status == 200
        for path in ("/api/extra/perf", "/v1/models", "/api/v1/model"):
            assert call(engine, path).status == 200
        assert call(engine, "/api/extra/version").json["protected"] is True


def test_status_routes(engine: KoboldcppDouble) -> None:
    assert call(engine, "/api/v1/model/").json == {"result": "koboldcpp/double"}
    assert call(engine, "/api/extra/true_max_context_length").json == {"value": 4096}
    assert call(engine, "/api/extra/version").json["version"] == "1.76"
    assert call(engine, "/nowhere").status == 404
    assert call(engine, "/nowhere", {}).status == 404
    assert call(engine, GENERATE, method="OPTIONS").status == 200


def test_stopping_cuts_off_a_stream_in_the_middle() -> None:
    with KoboldcppDouble(token_delay=0.05, reply=["x"] * 100, first_event_delay=0.02) as engine:
        connection = http.client.HTTPConnection(engine.host, engine.port, timeout=5)
        connection.request("POST", STREAM, json.dumps({"prompt": "Hi", "max_length": 100}))
        response = connection.getresponse()
        response.read1(10)
        engine.stop()
        assert b'"stop"' not in response.read()


def test_as_a_program() -> None:
    command = [sys.executable, "-m", "tests.doubles.koboldcpp", "--version", "1.76", "--port", "0", "--reply", "Oh my."]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline().rsplit(":", 1)[1])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("POST", GENERATE, json.dumps({"prompt": "Hi"}))
            assert json.load(connection.getresponse())["results"][0]["text"] == "Oh my."
        finally:
            process.terminate()
        assert process.wait(5) == 0
