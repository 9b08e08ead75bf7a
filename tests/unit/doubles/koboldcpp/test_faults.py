"""The faults that a test can switch on: what a client of a broken koboldcpp sees."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator

import pytest

from tests.doubles.koboldcpp import Fault, KoboldcppDouble
from tests.unit.doubles.koboldcpp.test_protocol import GENERATE, STREAM, call


@pytest.fixture
def engine() -> Iterator[KoboldcppDouble]:
    with KoboldcppDouble(version="1.76", first_event_delay=0.02) as double:
        yield double


@pytest.mark.parametrize("path", [GENERATE, STREAM])
def test_faults(engine: KoboldcppDouble, path: str) -> None:
    request = {"prompt": "Hi"}
    engine.fault = Fault.busy()
    assert call(engine, path, request).status == 503
    engine.fault = Fault.garbage()
    assert b"\xff\xfe<html>" in call(engine, path, request).body
    engine.fault = Fault.error_reason()
    assert b'"error"' in call(engine, path, request).body
    engine.fault = Fault.drip(interval=0.001)
    assert b"Hello there." in call(engine, path, request).body
    engine.fault = Fault.silence()
    with pytest.raises(TimeoutError):
        connection = http.client.HTTPConnection(engine.host, engine.port, timeout=0.3)
        connection.request("POST", path, json.dumps(request))
        connection.getresponse().read()
    connection.close()
    engine.fault = None
    assert call(engine, path, request).status == 200  # nothing is held after the faults


def test_a_dropped_answer(engine: KoboldcppDouble) -> None:
    engine.fault = Fault.drop()
    with pytest.raises(http.client.IncompleteRead):
        call(engine, GENERATE, {"prompt": "Hi"})
    engine.slot.token_delay = 0.06
    engine.fault = Fault.drop(after_tokens=1)
    assert [event["finish_reason"] for event in call(engine, STREAM, {"prompt": "Hi"}).events] == ["null"]


def test_bytes_of_the_tests_own(engine: KoboldcppDouble) -> None:
    engine.slot.token_delay = 0.06
    engine.fault = Fault.body(b"data: {}\n\n", after_tokens=1)
    assert [event.get("token") for event in call(engine, STREAM, {"prompt": "Hi"}).events] == ["Hello", None]


@pytest.mark.parametrize(("fault", "sent"), [(Fault.endless(), b" more"), (Fault.trickle(0.001), b"data: xxxx")])
def test_a_stream_without_end_lasts_until_the_client_leaves(engine: KoboldcppDouble, fault: Fault, sent: bytes) -> None:
    engine.fault = fault
    connection = http.client.HTTPConnection(engine.host, engine.port, timeout=5)
    connection.request("POST", STREAM, json.dumps({"prompt": "Hi", "max_length": 2}))
    response = connection.getresponse()
    assert sent in response.read(1000)
    assert engine.slot.busy
    response.close()
    connection.close()
    end = time.monotonic() + 5
    while engine.slot.busy and time.monotonic() < end:
        time.sleep(0.02)
    assert not engine.slot.busy
