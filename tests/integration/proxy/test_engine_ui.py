"""The engine's own page through gunicorn, before llama.cpp's server and before koboldcpp's protocol."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from scripts.lib.native import NativeStack, free_port
from tests.doubles.koboldcpp import KoboldcppDouble
from tests.integration.proxy.conftest import STORY, Proxy, events_of, running_proxy, until
from tests.integration.proxy.test_disconnects import engine_is_idle, proxy_is_idle

WORDS = [f" word{n}" for n in range(400)]


@dataclass
class Appliance:
    """The proxy's two listeners over one gate."""

    proxy: Proxy
    url: str

    def ask(self, path: str, body: dict[str, Any], *, stream: bool = False) -> requests.Response:
        return requests.post(self.url + path, json=body, stream=stream, timeout=120)

    def counts(self) -> tuple[int, int]:
        engine = self.proxy.ready()[1]["engine"]
        return engine["busy"], engine["waiting"]

    def raw(self, request: bytes) -> bytes:
        """What comes back for these very bytes, up to the end of the connection or a second of silence."""
        received = b""
        with connect(self.url) as connection, contextlib.suppress(TimeoutError):
            connection.settimeout(1)
            connection.sendall(request)
            while piece := connection.recv(65536):
                received += piece
        return received


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 80))


@contextlib.contextmanager
def two_listeners(native: NativeStack, folder: Path, **settings: str) -> Iterator[Appliance]:
    port = free_port()
    with running_proxy(native, folder, ENGINE_UI_LISTEN=f"127.0.0.1:{port}", **settings) as proxy:
        yield Appliance(proxy, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def llama(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with two_listeners(native, tmp_path_factory.mktemp("llama")) as appliance:
        yield appliance


@pytest.fixture(scope="module")
def koboldcpp() -> Iterator[KoboldcppDouble]:
    with KoboldcppDouble(reply=WORDS, token_delay=0.02, first_event_delay=0.02) as double:
        yield double


@pytest.fixture(scope="module")
def kobold(
    native: NativeStack, koboldcpp: KoboldcppDouble, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Appliance]:
    settings = {"ENGINE_API": "koboldcpp", "ENGINE_URL": koboldcpp.url, "ENGINE_SLOTS": "1", "QUEUE_SIZE": "3"}
    with two_listeners(native, tmp_path_factory.mktemp("kobold"), **settings) as appliance:
        yield appliance


def story(genkey: str, length: int = 400) -> dict[str, Any]:
    return {"prompt": "Once", "max_length": length, "genkey": genkey}


# --- llama.cpp's server ---------------------------------------------------------------------------------------------


def test_llama_cpps_page_and_its_files_come_through(llama: Appliance, native: NativeStack) -> None:
    for path in ("/", "/favicon.ico", "/manifest.webmanifest"):
        mine, its = requests.get(llama.url + path, timeout=10), requests.get(native.engine_url + path, timeout=10)
        assert (mine.status_code, mine.content) == (200, its.content)
        for name in ("Content-Type", "Content-Encoding", "ETag"):
            assert mine.headers.get(name) == its.headers.get(name)
        assert "Access-Control-Allow-Origin" not in mine.headers
    tag = requests.get(llama.url, timeout=10).headers["ETag"]
    again = requests.get(llama.url, headers={"If-None-Match": tag}, timeout=10)
    assert (again.status_code, again.content) == (304, b"")


def test_llama_cpp_answers_whole_and_streamed(llama: Appliance) -> None:
    messages = [{"role": "user", "content": "Say hello."}]
    whole = llama.ask("/v1/chat/completions", {"messages": messages, "max_tokens": 8, "temperature": 0})
    said = whole.json()["choices"][0]["message"]["content"]
    body = {"messages": messages, "max_tokens": 8, "temperature": 0, "stream": True}
    lines = llama.ask("/v1/chat/completions", body, stream=True).iter_lines()
    events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    streamed = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    assert said and said == streamed
    assert llama.ask("/tokenize", {"content": "Hello there"}).json()["tokens"]
    until(lambda: llama.counts() == (0, 0))


def ask_llama(appliance: Appliance, tokens: int, *, stream: bool) -> socket.socket:
    """Also with the header by which llama.cpp's page asks for an answer that outlives its connection."""
    payload = json.dumps({"prompt": STORY, "n_predict": tokens, "stream": stream, "ignore_eos": True}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nX-Conversation-Id: c1\r\nContent-Type: application/json\r\n"
    connection = connect(appliance.url)
    connection.sendall(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
    return connection


def test_leaving_a_stream_stops_llama_cpp_and_frees_the_slot(llama: Appliance, native: NativeStack) -> None:
    connection = ask_llama(llama, 2000, stream=True)
    while b"data: " not in connection.recv(4096):
        pass
    begun = time.monotonic()
    connection.close()
    until(lambda: engine_is_idle(native) and llama.counts() == (0, 0), 5)
    assert time.monotonic() - begun < 2


def test_llama_cpp_ends_a_whole_answer_that_nobody_waits_for_and_keeps_its_slot(
    llama: Appliance, native: NativeStack
) -> None:
    connection = ask_llama(llama, 200, stream=False)
    until(lambda: not engine_is_idle(native))
    connection.close()
    time.sleep(1)  # it has been noticed
    while not engine_is_idle(native):
        assert llama.counts() == (1, 0) or engine_is_idle(native)
    until(lambda: llama.counts() == (0, 0), 3)


def test_a_visitors_first_token_beside_two_long_stories(llama: Appliance, native: NativeStack) -> None:
    """Every slot and four places have stories; a visitor's question goes next when one of the running has ended."""
    body = {"prompt": STORY, "n_predict": 120, "stream": True, "ignore_eos": True}
    ended: list[str] = []
    told = threading.Lock()

    def write_story() -> None:
        assert llama.ask("/v1/completions", body).status_code == 200
        with told:
            ended.append("story")

    threads = [threading.Thread(target=write_story) for _ in range(native.slots + 4)]
    for thread in threads:
        thread.start()
    until(lambda: llama.counts() == (native.slots, 4))
    events = events_of(llama.proxy.as_().stream("Hello", bot="brief"))
    assert next(name for name, _ in events if name == "token")
    before = len(ended)
    for thread in threads:
        thread.join()
    list(events)
    assert before <= native.slots
    until(lambda: llama.counts() == (0, 0))


# --- koboldcpp ------------------------------------------------------------------------------------------------------


def test_koboldcpp_answers_whole_streamed_and_beside(kobold: Appliance, koboldcpp: KoboldcppDouble) -> None:
    whole = kobold.ask("/api/v1/generate", story("KCPP1", 5))
    assert whole.json()["results"][0]["text"] == "".join(WORDS[:5])
    events = list(events_of(kobold.ask("/api/extra/generate/stream", story("KCPP2", 5), stream=True)))
    assert "".join(data["token"] for _, data in events) == "".join(WORDS[:5])
    assert kobold.ask("/api/extra/tokencount", {"prompt": "two words"}).json()["value"] > 0
    assert requests.get(f"{kobold.url}/api/extra/perf", timeout=5).json()["idle"] == 1
    (sent,) = (r for r in koboldcpp.requests_to("/api/v1/generate") if r.json["genkey"] == "KCPP1")
    assert int(sent.headers["content-length"]) == len(sent.body)
    assert not {"transfer-encoding", "expect", "user-agent", "x-forwarded-for"} & sent.headers.keys()


def test_a_chunked_body_reaches_koboldcpp_with_a_length(kobold: Appliance) -> None:
    body = (piece for piece in (b'{"prompt": ', b'"Once", "max_length": 2}'))
    answer = requests.post(f"{kobold.url}/api/v1/generate", data=body, timeout=30)
    assert answer.json()["results"][0]["text"] == "".join(WORDS[:2])


def test_abort_frees_koboldcpp(kobold: Appliance, koboldcpp: KoboldcppDouble) -> None:
    response = kobold.ask("/api/extra/generate/stream", story("KCPP3"), stream=True)
    events = events_of(response)
    next(events)
    begun = time.monotonic()
    assert kobold.ask("/api/extra/abort", {"genkey": "KCPP3"}).json()["success"] == "true"
    list(events)
    assert time.monotonic() - begun < 2
    assert koboldcpp.generations[-1].aborted
    until(lambda: kobold.counts() == (0, 0))


@pytest.mark.parametrize("path", ["/api/extra/generate/stream", "/api/v1/generate"])
def test_leaving_frees_koboldcpp_and_the_slot(kobold: Appliance, koboldcpp: KoboldcppDouble, path: str) -> None:
    payload = json.dumps(story("KCPP4")).encode()
    connection = connect(kobold.url)
    before = len(koboldcpp.generations)
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload)
    until(lambda: len(koboldcpp.generations) > before and koboldcpp.generations[-1].tokens)
    connection.close()
    until(lambda: koboldcpp.generations[-1].done.is_set() and kobold.counts() == (0, 0), 3)
    assert len(koboldcpp.generations[-1].tokens) < len(WORDS)


def test_leaving_the_queue_and_a_full_queue(kobold: Appliance, koboldcpp: KoboldcppDouble) -> None:
    client = kobold.proxy.as_()
    running = client.stream("Hello")
    until(lambda: kobold.counts() == (1, 0))
    payload = json.dumps(story("KCPP5")).encode()
    head = f"POST /api/v1/generate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
    waiting = [connect(kobold.url) for _ in range(3)]
    for place, connection in enumerate(waiting, 1):
        connection.sendall(head + payload)
        until(lambda place=place: kobold.counts() == (1, place))  # type: ignore[misc]
    refused = kobold.ask("/api/v1/generate", story("KCPP6"))
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["detail"]["msg"] == refused.json()["error"]["message"]
    assert requests.get(f"{kobold.url}/api/extra/version", timeout=5).json()["result"] == "KoboldCpp"
    before = len(koboldcpp.requests_to("/api/v1/generate"))
    for connection in waiting:
        connection.close()
    until(lambda: kobold.counts() == (1, 0), 3)
    running.close()
    until(lambda: proxy_is_idle(kobold.proxy))
    assert len(koboldcpp.requests_to("/api/v1/generate")) == before


# --- what is no HTTP of a browser -----------------------------------------------------------------------------------

GENERATION = b'{"prompt": "smuggled", "max_length": 2}'
SMUGGLED = b"POST /api/v1/generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(GENERATION) + GENERATION
TRICKS = {
    "both lengths": (
        b"POST /api/extra/perf HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "two lengths": b"POST /api/extra/perf HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n",
    "a strange coding": b"POST /api/extra/perf HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a bare newline": b"POST /api/extra/perf HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 9\r\n\r\n",
    "another host": b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a host in the path": b"GET //127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a way up": b"GET /a/../api/v1/model HTTP/1.1\r\nHost: x\r\n\r\n",
    "a hidden way up": b"GET /a/%2e%2e/api/v1/model HTTP/1.1\r\nHost: x\r\n\r\n",
    "a hidden line": b"GET /a%0d%0aX:%201 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_are_refused_and_reach_no_engine(kobold: Appliance, koboldcpp: KoboldcppDouble, trick: str) -> None:
    before = len(koboldcpp.requests)
    status = kobold.raw(TRICKS[trick]).split(b" ")[1]
    assert status in (b"400", b"405", b"501")
    seen = [request.path for request in koboldcpp.requests[before:]]
    assert not [path for path in seen if path not in ("/api/v1/model", "/api/extra/version")]


def test_what_stands_behind_a_get_is_its_body_and_no_request(kobold: Appliance, koboldcpp: KoboldcppDouble) -> None:
    before = len(koboldcpp.requests_to("/api/v1/generate"))
    head = b"GET /api/extra/perf HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    assert kobold.raw(head + SMUGGLED).count(b"HTTP/1.1 200") == 1
    assert len(koboldcpp.requests_to("/api/v1/generate")) == before


# --- no engine ------------------------------------------------------------------------------------------------------


def test_an_engine_that_is_away_is_told(native: NativeStack, tmp_path: Path) -> None:
    with two_listeners(native, tmp_path, ENGINE_URL=f"http://127.0.0.1:{free_port()}") as appliance:
        shown = requests.get(appliance.url, headers={"Accept": "text/html"}, timeout=10)
        assert (shown.status_code, shown.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
        assert "make logs SERVICE=engine" in shown.text
        assert appliance.ask("/v1/chat/completions", {}).json()["error"]["type"] == "engine_error"


def test_an_engine_that_dies_in_mid_answer_ends_it_and_frees_its_slot(native: NativeStack, tmp_path: Path) -> None:
    """koboldcpp's streams have no length: where they break off in peace, nobody can tell that from their end."""
    double = KoboldcppDouble(reply=WORDS, token_delay=0.02, first_event_delay=0.02).start()
    settings = {"ENGINE_API": "koboldcpp", "ENGINE_URL": double.url, "ENGINE_SLOTS": "1"}
    with two_listeners(native, tmp_path, **settings) as appliance:
        response = appliance.ask("/api/extra/generate/stream", story("KCPP7"), stream=True)
        events = events_of(response)
        next(events)
        double.stop()
        with contextlib.suppress(requests.exceptions.RequestException):
            assert len(list(events)) < len(WORDS) - 1
        until(lambda: appliance.counts() == (0, 0))
