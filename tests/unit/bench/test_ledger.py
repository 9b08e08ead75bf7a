"""The judge of the composed benchmarks: what it calls dishonest, and what it misses when a store forgets."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.bench.composed import ledger
from tests.bench.composed.ledger import Ledger, Streamed, Told


def _answer(status: int, body: Any, **headers: str) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    answer._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer.headers.update(headers)
    return answer


def _error(code: str, message: str = "Try again.") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


@pytest.mark.parametrize(
    ("answer", "said", "honest"),
    [
        (_answer(200, {}), "200", True),
        (_answer(503, _error("busy"), **{"Retry-After": "3"}), "503 busy", True),
        (_answer(503, _error("busy")), "503 busy", False),
        (_answer(502, _error("engine_error")), "502 engine_error", True),
        (_answer(500, _error("internal_error")), "500 internal_error", False),
        (_answer(502, b"<html>Bad gateway"), "502", False),
        (_answer(400, _error("invalid_request", 'File "app.py", line 3')), "400 invalid_request", False),
    ],
)
def test_a_refusal_is_judged(answer: requests.Response, said: str, honest: bool) -> None:
    outcome = ledger.judged("ask", 0.0, answer)
    assert (outcome.said, not outcome.dishonest) == (said, honest)


@pytest.mark.parametrize(
    ("read", "said", "honest"),
    [
        (Streamed("Hi.", 1.0, "done", {"answer": "Hi."}), "200", True),
        (Streamed("Hi", 1.0, "done", {"answer": "Hi."}), "200", False),
        (Streamed("Hi", 1.0, "error", {"code": "engine_error"}), "200, then error engine_error", True),
        (Streamed("Hi", 1.0, "error", {"code": "internal_error"}), "200, then error internal_error", False),
        (Streamed("Hi", 1.0, ""), "200", False),
        (Streamed("Hi", 1.0, "left"), "left", True),
    ],
)
def test_a_stream_is_judged_by_its_end(read: Streamed, said: str, honest: bool) -> None:
    outcome = ledger.judged_stream("talk", 0.0, read)
    assert (outcome.said, not outcome.dishonest) == (said, honest)


class _Store(requests.Session):
    """Answers with one conversation."""

    def __init__(self, *messages: dict[str, str], status: int = 200) -> None:
        super().__init__()
        self.messages, self.status = messages, status

    def get(self, *_: Any, **__: Any) -> requests.Response:
        return _answer(self.status, {"messages": list(self.messages)})


ASKED = {"id": "1", "role": "user", "text": "Who?", "status": "complete"}
TOLD = {"id": "2", "role": "assistant", "text": "I.", "status": "complete"}


@pytest.mark.parametrize(
    ("store", "count"),
    [
        (_Store(ASKED, TOLD), 0),
        (_Store(TOLD), 1),
        (_Store(ASKED), 1),
        (_Store(ASKED, {**TOLD, "text": "I"}), 1),
        (_Store(ASKED, {**TOLD, "status": "interrupted"}), 1),
        (_Store(), 2),
        (_Store(status=404), 1),
    ],
)
def test_what_was_acknowledged_and_is_not_there_is_lost(store: _Store, count: int) -> None:
    assert len(list(ledger.lost("", {"c": Told(store, ["Who?"], {"2": "I."})}))) == count


def test_a_request_belongs_to_the_time_in_which_it_was_under_way() -> None:
    book = Ledger()
    for begun, ended in ((0.0, 1.0), (1.0, 3.0), (4.0, 5.0)):
        book.note(ledger.Outcome("ask", begun, ended, "200"))
    assert [each.begun for each in book.since(2.0, 3.5)] == [1.0]
