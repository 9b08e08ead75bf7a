"""Kobold's stream to the byte, its abort and check, and what clients ask when they connect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from chatproxy.core.types import EngineEvent, Finish, Generation, Idle, Text
from chatproxy.errors import EngineFailure
from chatproxy.settings import Settings
from tests.unit.proxy.fakes import FakeEngine, World, says

STREAM = "/api/extra/generate/stream"
CONNECTING = [
    ("/api/v1/model", {"result": "koboldcpp/model"}),
    ("/api/latest/model", {"result": "koboldcpp/model"}),
    ("/api/v1/info/version", {"result": "1.2.5"}),
    ("/api/latest/info/version", {"result": "1.2.5"}),
    ("/api/v1/config/max_context_length", {"value": 2048}),
    ("/api/latest/config/max_context_length", {"value": 2048}),
    ("/api/extra/true_max_context_length", {"value": 2048}),
    ("/api/v1/config/max_length", {"value": 200}),
    ("/api/latest/config/max_length", {"value": 200}),
    ("/api/v1/config/soft_prompt", {"value": ""}),
    ("/api/v1/config/soft_prompts_list", {"values": []}),
    ("/api/extra/preloadstory", {}),
]
WITH_A_KEY = [
    *(("GET", path) for path, _ in CONNECTING),
    ("GET", "/api/extra/version"),
    ("POST", STREAM),
    ("POST", "/api/extra/abort"),
    ("POST", "/api/extra/generate/check"),
    ("GET", "/api/extra/generate/check"),
    ("POST", "/api/extra/tokencount"),
    ("GET", "/api/extra/perf"),
]


def json_of(response: TestResponse) -> Any:
    assert response.status_code == 200, response.data
    return response.json


def test_a_stream_has_koboldcpps_very_bytes() -> None:
    world = World(engine=FakeEngine(says("I am", ' "glad"\né')))
    response = world.client("kobold").post(STREAM, json={"prompt": "P"})
    assert response.content_type.startswith("text/event-stream")
    assert response.data == (
        b": stream\n\n"
        b'event: message\ndata: {"token": "I am", "finish_reason": null}\n\n'
        b'event: message\ndata: {"token": " \\"glad\\"\\n\\u00e9", "finish_reason": null}\n\n'
        b'event: message\ndata: {"token": "", "finish_reason": "stop"}\n\n'
    )


def test_a_full_stream_ends_with_length_and_stops_never_leak() -> None:
    full = World(engine=FakeEngine(says("a", reason="length"))).client().post(STREAM, json={"prompt": "P"})
    assert full.data.endswith(b'data: {"token": "", "finish_reason": "length"}\n\n')
    engine = FakeEngine(says("Yes", "\nYo", "u: no"))
    stopped = (
        World(engine=engine)
        .client()
        .post(STREAM, json={"prompt": "P", "stop_sequence": ["\nYou:", ""], "trim_stop": False})
    )
    assert b"Yo" not in stopped.data
    assert engine.generations[0].stops == ("\nYou:",)


def test_a_stream_that_breaks_says_so_in_koboldcpps_shape() -> None:
    world = World(engine=FakeEngine([Text("I"), EngineFailure("host:5001 died")]))
    response = world.client().post(STREAM, json={"prompt": "P"})
    assert response.data.endswith(
        b'event: message\ndata: {"token": "", "finish_reason": "error", "detail": '
        b'{"msg": "The language model gave no usable answer.", "type": "engine_error"}}\n\n'
    )


def test_errors_before_a_stream_have_their_own_status() -> None:
    world = World(settings=Settings(trusted_hops=0, context_size=512))
    response = world.client().post(STREAM, json={"prompt": "word " * 600})
    assert (response.status_code, response.json["detail"]["type"]) == (422, "context_too_long")
    response = world.client().post(STREAM, json={"prompt": "P", "genkey": 7})
    assert (response.status_code, response.json["detail"]["msg"]) == (400, "genkey: must be text")


def test_the_older_name_of_ban_eos_token_counts_where_the_newer_is_not_given() -> None:
    world = World()
    client = world.client()
    client.post("/api/v1/generate", json={"prompt": "P", "use_default_badwordsids": True})
    client.post("/api/v1/generate", json={"prompt": "P", "use_default_badwordsids": True, "ban_eos_token": False})
    assert [g.sampling.ban_eos_token for g in world.engine.generations] == [True, False]


class HalfSaid(FakeEngine):
    """Says "Half" and idles until it is closed or `go` is set."""

    def __init__(self) -> None:
        self.said, self.go = threading.Event(), threading.Event()
        super().__init__(self._play)

    def _play(self, _: Generation) -> Generator[EngineEvent]:
        yield Text("Half")
        self.said.set()
        while not self.go.wait(0.01):
            yield Idle()
        yield Text(" whole")
        yield Finish("stop")


@pytest.fixture
def half() -> Generator[HalfSaid]:
    engine = HalfSaid()
    yield engine
    engine.go.set()


def generate_beside(client: FlaskClient, genkey: str) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []

    def ask() -> None:
        answers.append(json_of(client.post("/api/v1/generate", json={"prompt": "P", "genkey": genkey})))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def post(client: FlaskClient, path: str, body: Any = None) -> Any:
    return json_of(client.post(path, json=body) if body is not None else client.post(path))


def test_check_shows_the_own_text_so_far_and_nobody_elses(half: HalfSaid) -> None:
    world = World(engine=half)
    own, other = world.client("kobold"), world.client("kobold")
    thread, answers = generate_beside(own, "KCPP1234")
    assert half.said.wait(5)
    until(lambda: text_so_far(own, {"genkey": "KCPP1234"}) == "Half")
    for client, body in ((other, {"genkey": "KCPP1234"}), (own, {"genkey": "KCPP9"}), (own, {}), (own, None)):
        assert text_so_far(client, body) == ""
    assert json_of(own.get("/api/extra/generate/check")) == {"results": [{"text": ""}]}
    half.go.set()
    thread.join(5)
    assert answers[0]["results"][0]["text"] == "Half whole"
    assert text_so_far(own, {"genkey": "KCPP1234"}) == ""


def text_so_far(client: FlaskClient, body: Any) -> str:
    return str(post(client, "/api/extra/generate/check", body)["results"][0]["text"])


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_abort_of_somebody_elses_does_nothing_and_says_nothing(half: HalfSaid) -> None:
    world = World(engine=half)
    own, other = world.client("kobold"), world.client("kobold")
    thread, answers = generate_beside(own, "KCPP1234")
    assert half.said.wait(5)
    nothing = {"success": "false", "done": "false"}
    assert post(other, "/api/extra/abort", {"genkey": "KCPP1234"}) == nothing
    assert post(other, "/api/extra/abort", {"genkey": "never was"}) == nothing
    assert post(own, "/api/extra/abort", {}) == nothing
    assert post(own, "/api/extra/abort") == nothing
    half.go.set()
    thread.join(5)
    assert answers[0]["results"][0] == {
        "text": "Half whole",
        "finish_reason": "stop",
        "prompt_tokens": 1,
        "completion_tokens": 2,
    }


def test_an_abort_ends_the_own_generation_with_its_text_so_far(half: HalfSaid) -> None:
    own = World(engine=half).client("kobold")
    thread, answers = generate_beside(own, "KCPP1234")
    assert half.said.wait(5)
    assert post(own, "/api/extra/abort", {"genkey": "KCPP1234"}) == {"success": "true", "done": "true"}
    thread.join(5)
    assert answers[0]["results"][0]["text"] == "Half"
    assert answers[0]["results"][0]["finish_reason"] == "length"


def test_tokencount_is_the_engines() -> None:
    client = World().client("kobold")
    assert post(client, "/api/extra/tokencount", {"prompt": "three words here"}) == {"value": 3}
    assert post(client, "/api/extra/tokencount", {}) == {"value": 0}
    response = client.post("/api/extra/tokencount", json={"prompt": ["x"]})
    assert (response.status_code, response.json["detail"]["msg"]) == (400, "prompt: must be text")


def test_perf_tells_the_gate_and_the_keys_own_last_generation() -> None:
    world = World(engine=FakeEngine(says("a b", " c", reason="length")))
    own, other = world.client("kobold"), world.client("kobold")
    before = json_of(own.get("/api/extra/perf"))
    assert (before["idle"], before["queue"], before["total_gens"], before["stop_reason"]) == (1, 0, 0, -1)
    post(own, "/api/v1/generate", {"prompt": "one two"})
    assert own.post(STREAM, json={"prompt": "one two"}).data
    after = json_of(own.get("/api/extra/perf"))
    assert (after["last_token_count"], after["last_input_count"], after["stop_reason"]) == (3, 2, 0)
    assert after["total_gens"] == 2
    assert 0 <= after["idletime"] <= after["uptime"]
    assert json_of(other.get("/api/extra/perf"))["last_token_count"] == 0


def test_perf_counts_who_generates_and_who_waits(half: HalfSaid) -> None:
    client = World(engine=half).client("kobold")
    running = [generate_beside(client, name)[0] for name in ("first", "second")]
    until(lambda: json_of(client.get("/api/extra/perf"))["queue"] == 1)
    assert json_of(client.get("/api/extra/perf"))["idle"] == 0
    half.go.set()
    for thread in running:
        thread.join(5)


@pytest.mark.parametrize(("path", "answer"), CONNECTING)
def test_what_clients_ask_when_they_connect(path: str, answer: object) -> None:
    world = World(engine=FakeEngine(context=2048))
    assert json_of(world.client("kobold").get(path)) == answer


def test_the_version_makes_clients_stream_and_hides_what_is_not_here() -> None:
    told = json_of(World().client("kobold").get("/api/extra/version"))
    assert told["result"] == "KoboldCpp"
    assert tuple(map(int, told["version"].split("."))) > (1, 30)
    assert (told["protected"], told["llm"]) == (True, True)
    assert told["vision"] is False
    assert not any(told[name] for name in ("txt2img", "transcribe", "multiplayer", "websearch", "tts"))


@pytest.mark.parametrize(("method", "path"), WITH_A_KEY)
def test_without_a_key_or_scope_nothing_is_told(method: str, path: str) -> None:
    world = World()
    for client, status, kind in (
        (world.app.test_client(), 401, "unauthorized"),
        (world.client("chat"), 403, "forbidden"),
    ):
        response = client.open(path, method=method, json={"prompt": "P"})
        assert (response.status_code, response.json["detail"]["type"]) == (status, kind)
    assert world.engine.generations == []


def test_an_unknown_route_of_the_family_is_404_in_its_envelope() -> None:
    response = World().client().post("/api/extra/transcribe", json={})
    assert (response.status_code, response.json["detail"]["type"]) == (404, "not_found")
