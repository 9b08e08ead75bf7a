"""However the engine fails: a typed error in time, the slot free again, the question kept, the answer interrupted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.lib.native import NativeStack
from tests.doubles.koboldcpp import Fault, KoboldcppDouble
from tests.integration.proxy.conftest import Client, Proxy, events_of, running_proxy, until

WORDS = ("One", " two", " three", " four", " five", " six", " seven", " eight")
TIMEOUT_S = 1
# What an answer may take beyond its time-out, on a machine that is busy with other tests too.
SPARE_S = 6.0
HUGE = 100_000_000


@dataclass(frozen=True)
class Case:
    """A fault (made when it is needed: one of them is large), and what a client is to see of it."""

    fault: Callable[[], Fault]
    status: int
    code: str
    said: bool = False  # whether part of the answer came before


CASES = {
    "200 null": Case(lambda: Fault.body(b"null"), 502, "engine_error"),
    "headers, then silence, as after wrong types": Case(Fault.null, 504, "engine_timeout"),
    "silence": Case(Fault.silence, 504, "engine_timeout"),
    "silence in mid-stream": Case(lambda: Fault.silence(3), 504, "engine_timeout", said=True),
    "dropped connection": Case(Fault.drop, 502, "engine_error"),
    "death in mid-stream": Case(lambda: Fault.drop(3), 502, "engine_error", said=True),
    "garbage": Case(Fault.garbage, 502, "engine_error"),
    "garbage in mid-stream": Case(lambda: Fault.garbage(3), 502, "engine_error", said=True),
    "503": Case(Fault.busy, 503, "busy"),
    "its own error": Case(Fault.error_reason, 502, "engine_error"),
    "bytes that never make an event": Case(lambda: Fault.trickle(0.02), 504, "engine_timeout"),
    "the same in mid-stream": Case(lambda: Fault.trickle(0.02, 3), 504, "engine_timeout", said=True),
    "an event of 100 MB": Case(lambda: Fault.body(_event('"%s"' % ("x" * HUGE))), 502, "engine_error"),
    "an event of 100 MB in many lines": Case(
        lambda: Fault.body(b"data: xxxxxxxx\n" * (HUGE // 15)), 502, "engine_error"
    ),
    "a line of 100 MB": Case(lambda: Fault.body(b"x" * HUGE), 502, "engine_error"),
    "deeply nested JSON": Case(lambda: Fault.body(_event("[" * 200_000 + "]" * 200_000)), 502, "engine_error"),
    "a number of 100,000 digits": Case(lambda: Fault.body(_event("9" * 100_000)), 502, "engine_error"),
    "a token that is no text": Case(lambda: Fault.body(_event("{}")), 502, "engine_error"),
}


def _event(token: str) -> bytes:
    return f'event: message\ndata: {{"token": {token}, "finish_reason": null}}\n\n'.encode()


@pytest.fixture(scope="module")
def engine() -> Iterator[KoboldcppDouble]:
    with KoboldcppDouble(reply=WORDS, token_delay=0.05, first_event_delay=0.02) as double:
        yield double


@pytest.fixture(scope="module")
def proxy(native: NativeStack, engine: KoboldcppDouble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    settings = {
        "ENGINE_API": "koboldcpp",
        "ENGINE_URL": engine.url,
        "ENGINE_SLOTS": "1",
        "ENGINE_FIRST_TOKEN_TIMEOUT": str(TIMEOUT_S),
        "ENGINE_IDLE_TIMEOUT": str(TIMEOUT_S),
    }
    with running_proxy(native, tmp_path_factory.mktemp("misbehaving"), **settings) as running:
        yield running


@pytest.fixture(autouse=True)
def _mended(engine: KoboldcppDouble) -> Iterator[None]:
    yield
    engine.fault = None


def ask(client: Client, message: str, *, streaming: bool) -> tuple[int, str]:
    """Status and code of the error that came; a stream's status is its code's, as nothing else tells it."""
    if not streaming:
        response = client.chat(message)
        return response.status_code, response.json()["error"]["code"]
    response = client.stream(message, bot="brief")
    assert response.status_code == 200
    name, data = list(events_of(response))[-1]
    assert name == "error"
    assert set(data) == {"code", "message"}
    return {"engine_error": 502, "engine_timeout": 504, "busy": 503}[data["code"]], data["code"]


def newest_messages(client: Client) -> list[dict[str, Any]]:
    listed = client.session.get(f"{client.url}/api/v1/conversations?limit=1", timeout=10).json()["conversations"]
    return list(client.conversation(listed[0]["id"])["messages"])


def slot_is_free(proxy: Proxy, engine: KoboldcppDouble) -> bool:
    gate = proxy.ready()[1]["engine"]
    return (gate["busy"], gate["waiting"]) == (0, 0) and not engine.slot.busy


@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("name", CASES)
def test_a_failing_engine(proxy: Proxy, engine: KoboldcppDouble, name: str, streaming: bool) -> None:
    case, client = CASES[name], proxy.as_("chat")
    engine.fault = case.fault()
    begun = time.monotonic()
    assert ask(client, "Count to eight.", streaming=streaming) == (case.status, case.code)
    assert time.monotonic() - begun < TIMEOUT_S + SPARE_S
    until(lambda: slot_is_free(proxy, engine), 5)

    question, part = newest_messages(client)
    assert (question["role"], question["text"], question["status"]) == ("user", "Count to eight.", "complete")
    assert (part["role"], part["status"]) == ("assistant", "interrupted")
    assert "".join(WORDS).startswith(part["text"])
    assert bool(part["text"]) == case.said

    engine.fault = None
    assert client.chat("Count to eight.").json()["answer"] == "".join(WORDS)


@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
def test_an_engine_that_knows_no_end_is_cut_off(proxy: Proxy, engine: KoboldcppDouble, streaming: bool) -> None:
    client = proxy.as_("chat")
    engine.fault = Fault.endless()
    begun = time.monotonic()
    if streaming:
        name, done = list(events_of(client.stream("Go on for ever.", bot="brief")))[-1]
        assert name == "done"
    else:
        done = client.chat("Go on for ever.").json()
    assert time.monotonic() - begun < TIMEOUT_S + SPARE_S
    assert done["finish_reason"] == "length"
    assert 24 <= len(done["answer"].split()) <= 24 + 100  # the bot's max_tokens, and what was on its way
    until(lambda: slot_is_free(proxy, engine), 5)
    assert newest_messages(client)[1]["text"] == done["answer"]


def test_a_huge_event_is_not_collected(proxy: Proxy, engine: KoboldcppDouble) -> None:
    before = _most_memory(proxy)
    engine.fault = Fault.body(_event('"%s"' % ("x" * HUGE)))
    assert ask(proxy.as_("chat"), "Hi", streaming=False)[0] == 502
    assert _most_memory(proxy) - before < HUGE / 4


def _most_memory(proxy: Proxy) -> int:
    """The most resident memory that gunicorn's worker ever had, in bytes."""
    pid = proxy.process.pid
    worker = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    assert peak
    return int(peak[1]) * 1024
