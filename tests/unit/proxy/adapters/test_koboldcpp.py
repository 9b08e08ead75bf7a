"""The koboldcpp adapter against the protocol double: three versions' ways, and everything that can go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from chatproxy.adapters.koboldcpp import Koboldcpp
from chatproxy.core.types import EngineEvent, Finish, Generation, Idle, Sampling, Text
from chatproxy.core.warm_ports import CacheState
from chatproxy.errors import Busy, EngineFailure, EngineTimeout, Unhealthy
from tests.doubles.koboldcpp import DIALECTS, Fault, KoboldcppDouble
from tests.unit.proxy.adapters.raw_server import RawServer, answer

HELLO = Generation("<|user|>Hi<|model|>", 20, ("<|user|>",), Sampling(temperature=0.7), 2048)


def adapter(double: KoboldcppDouble, *, first_s: float = 5, idle_s: float = 5) -> Koboldcpp:
    return Koboldcpp(double.url, first_token_s=first_s, idle_s=idle_s)


def text_of(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def until(condition: Callable[[], object], seconds: float = 3) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("version", DIALECTS)
def test_an_answer_streams_and_ends(version: str) -> None:
    with KoboldcppDouble(version=version, reply=["Grü", "ße ", b"\xf0\x9f", b"\x99\x82", "!"]) as double:
        events = list(adapter(double).generate(HELLO))
    assert text_of(events) == "Grüße 🙂!"
    assert events[-1] == Finish("stop")


@pytest.mark.parametrize("version", DIALECTS)
def test_the_length_limit_is_told(version: str) -> None:
    with KoboldcppDouble(version=version, reply=["a "] * 50) as double:
        events = list(adapter(double).generate(HELLO))
    assert events[-1] == Finish("length")
    assert len(text_of(events)) == 40


def test_what_is_sent_is_what_was_asked_for_and_nothing_else() -> None:
    with KoboldcppDouble() as double:
        list(adapter(double).generate(HELLO))
        (request,) = double.requests_to("/api/extra/generate/stream")
    body = dict(request.json)
    assert len(body.pop("genkey")) > 30
    assert body == {
        "prompt": HELLO.prompt,
        "max_length": 20,
        "max_context_length": 2048,
        "stop_sequence": ["<|user|>"],
        "trim_stop": False,
        "quiet": True,
        "temperature": 0.7,
    }
    assert int({name.lower(): value for name, value in request.headers.items()}["content-length"]) == len(request.body)


def test_every_generation_has_its_own_key() -> None:
    with KoboldcppDouble() as double:
        for _ in range(3):
            list(adapter(double).generate(HELLO))
        keys = {request.json["genkey"] for request in double.requests_to("/generate/stream")}
    assert len(keys) == 3


@pytest.mark.parametrize("version", DIALECTS)
def test_silence_after_the_headers_is_a_timeout(version: str) -> None:
    with KoboldcppDouble(version=version) as double:
        double.fault = Fault.silence()
        begun = time.monotonic()
        with pytest.raises(EngineTimeout):
            list(adapter(double, first_s=1).generate(HELLO))
    assert time.monotonic() - begun < 3


def test_silence_between_two_tokens_is_a_timeout() -> None:
    with KoboldcppDouble(token_delay=0.1, reply=["a"] * 20) as double:
        double.fault = Fault.silence(after_tokens=3)
        events = []
        with pytest.raises(EngineTimeout):
            for event in adapter(double, idle_s=1).generate(HELLO):
                events.append(event)
    assert text_of(events).startswith("a")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.drop(), EngineFailure),
        (Fault.drop(after_tokens=2), EngineFailure),
        (Fault.garbage(), EngineFailure),
        (Fault.garbage(after_tokens=2), EngineFailure),
        (Fault.null(), EngineFailure),
        (Fault.error_reason(), EngineFailure),
        (Fault.busy(), Busy),
    ],
    ids=lambda value: f"{value.kind.value}-{value.after_tokens}" if isinstance(value, Fault) else "",
)
@pytest.mark.parametrize("version", ["1.76", "1.115.1"])
def test_a_misbehaving_engine_is_a_typed_error(version: str, fault: Fault, error: type[Exception]) -> None:
    with KoboldcppDouble(version=version, token_delay=0.2, reply=["Hello", " there", ".", *[" More."] * 9]) as double:
        double.fault = fault
        begun = time.monotonic()
        with pytest.raises(error):
            list(adapter(double, first_s=1.5, idle_s=1.5).generate(HELLO))
        assert time.monotonic() - begun < 5
        double.fault, double.slot.token_delay = None, 0.0
        assert text_of(list(adapter(double).generate(HELLO))).startswith("Hello there.")


def test_a_slow_drip_still_arrives() -> None:
    with KoboldcppDouble(reply=["Hi"]) as double:
        double.fault = Fault.drip(interval=0.002)
        assert text_of(list(adapter(double).generate(HELLO))) == "Hi"


def test_an_engine_killed_in_mid_answer_is_an_error() -> None:
    double = KoboldcppDouble(token_delay=0.1, reply=["a"] * 20).start()
    events = adapter(double).generate(HELLO)
    next(event for event in events if isinstance(event, Text))
    double.stop()
    with pytest.raises(EngineFailure):
        list(events)


def test_an_engine_that_is_not_there_is_an_error() -> None:
    double = KoboldcppDouble().start()
    double.stop()
    with pytest.raises(EngineFailure):
        list(adapter(double).generate(HELLO))
    with pytest.raises(EngineFailure):
        adapter(double).count_tokens("x")
    with pytest.raises(Unhealthy, match="connection refused"):
        adapter(double).check()


@pytest.mark.parametrize("version", DIALECTS)
def test_leaving_in_mid_answer_stops_the_engine(version: str) -> None:
    with KoboldcppDouble(version=version, token_delay=0.05, reply=["a"] * 1000) as double:
        events = adapter(double).generate(HELLO)
        next(event for event in events if isinstance(event, Text))
        events.close()
        until(double.generations[0].done.is_set)
        assert double.generations[0].aborted
        assert len(double.generations[0].tokens) < 20


def test_leaving_while_the_prompt_is_read_aborts_where_that_is_safe() -> None:
    with KoboldcppDouble(version="1.115.1", first_token_delay=30, first_event_delay=0) as double:
        engine = adapter(double)
        engine.context_size()
        events = engine.generate(HELLO)
        assert isinstance(next(events), Idle)
        events.close()
        until(double.generations[0].done.is_set)


def test_an_abort_that_overtakes_its_generation_is_sent_again() -> None:
    told = {
        "/api/extra/true_max_context_length": b'{"value":1024}',
        "/api/extra/version": b'{"result":"KoboldCpp","version":"1.115.1"}',
        "/api/v1/model": b'{"result":"koboldcpp/m"}',
        "/api/extra/abort": b'{"success":"false","done":"false"}',
    }
    scripts = {path: answer(body) for path, body in told.items()}
    with RawServer({**scripts, "/api/extra/generate/stream": [3.0]}) as double:
        events = Koboldcpp(double.url).generate(HELLO)
        assert next(events) == Idle()
        events.close()
        (order,) = double.bodies("/api/extra/generate/stream")
        assert double.bodies("/api/extra/abort") == [{"genkey": order["genkey"]}] * 5


@pytest.mark.parametrize("version", ["1.74", "1.76"])
def test_leaving_while_the_prompt_is_read_spares_the_old_versions_cache(version: str) -> None:
    with KoboldcppDouble(version=version, first_token_delay=1.0, first_event_delay=0) as double:
        engine = adapter(double)
        events = engine.generate(HELLO)
        assert isinstance(next(events), Idle)
        events.close()
        assert double.requests_to("/abort") == []
        assert text_of(list(engine.generate(HELLO))) == "Hello there."


def test_tokens_context_and_health_are_the_engines_own() -> None:
    with KoboldcppDouble(context_size=1024) as double:
        engine = adapter(double)
        assert engine.count_tokens("<|user|>Hi") == 3
        assert engine.context_size() == 1024
        engine.check()


def test_what_the_engine_says_about_itself_is_asked_once_a_minute() -> None:
    now = 0.0
    with KoboldcppDouble(context_size=1024) as double:
        engine = Koboldcpp(double.url, clock=lambda: now)
        engine.context_size()
        now = 59.0
        engine.context_size()
        assert len(double.requests_to("/true_max_context_length")) == 1
        double.slot.context_size = 512
        now = 61.0
        assert engine.context_size() == 512


def test_a_password_is_sent_as_bearer_token() -> None:
    with KoboldcppDouble(password="secret") as double:
        engine = Koboldcpp(double.url, api_key="secret")
        assert text_of(list(engine.generate(HELLO))) == "Hello there."
        assert engine.count_tokens("Hi") == 2
        with pytest.raises(EngineFailure):
            list(Koboldcpp(double.url).generate(HELLO))


@pytest.mark.parametrize("version", DIALECTS)
def test_its_uptime_tells_how_old_its_cache_is(version: str) -> None:
    with KoboldcppDouble(version=version) as double:
        state = adapter(double).cache()
    assert state is not None
    assert state.age >= 0
    with RawServer({"/api/extra/perf": answer(b'{"uptime": 1234, "idle": 1}')}) as server:
        assert Koboldcpp(server.url).cache() == CacheState(1234)


def test_a_cache_that_is_not_told_is_unknown() -> None:
    for body in (b"{}", b"[]", b'{"uptime": "long"}'):
        with RawServer({"/api/extra/perf": answer(body)}) as server:
            assert Koboldcpp(server.url).cache() is None
    assert Koboldcpp(server.url).cache() is None
