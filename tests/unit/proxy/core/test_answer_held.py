"""While the engine is exchanged a question waits with its place, and is answered by whichever engine comes."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from chatproxy.core.access import Caller
from chatproxy.core.answer import AnswerEvent, Done, Started
from chatproxy.core.generation import Queued
from chatproxy.core.passages import Passage
from chatproxy.core.types import Bot
from chatproxy.errors import EngineFailure, Unavailable
from tests.unit.proxy.core.test_answer import Stage
from tests.unit.proxy.fakes import FakeBots, FakePassages

HOURS = Passage("h", "site", 0, "Open from 9 to 17.", ("Visit", "Hours"), "https://shop.example/visit", "hours")
GUIDE = Bot("assistant", "Assistant", system="You are kind.", format="chatml", max_tokens=64, knowledge=("site",))


def _until_queued(events: Generator[AnswerEvent]) -> Queued:
    return next(event for event in events if isinstance(event, Queued))


def test_a_question_waits_while_the_engine_is_exchanged_and_is_answered_with_its_sources() -> None:
    stage = Stage(bots=FakeBots(GUIDE), passages=FakePassages(HOURS))
    stage.engine.context_error = EngineFailure("gone for a moment")
    stage.gate.hold(60)
    events = stage.ask("When do you open?")
    assert isinstance(next(events), Started)
    assert _until_queued(events) == Queued(1, None)
    assert stage.stored[0] == ("user", "When do you open?", "complete")
    stage.engine.context_error = None
    stage.gate.hold(0)
    *_, done = events
    assert isinstance(done, Done)
    assert done.finish_reason == "stop"
    assert [source.title for source in done.sources] == ["Visit > Hours"]
    assert stage.history.all_messages[1].sources == done.sources
    stage.assert_free()


def test_an_engine_that_is_away_is_an_error_at_once_where_nobody_exchanges_it() -> None:
    stage = Stage()
    stage.engine.context_error = EngineFailure("crashed")
    events = stage.ask()
    assert isinstance(next(events), Started)
    with pytest.raises(EngineFailure):
        list(events)
    stage.assert_free()


def test_who_waits_when_the_proxy_is_to_end_is_sent_away_with_the_question_stored_and_goes_on_elsewhere() -> None:
    stage = Stage()
    stage.gate.hold(60)
    events = stage.ask("Hi")
    started = next(events)
    assert isinstance(started, Started)
    _until_queued(events)
    stage.gate.hold(60, turn_away=True)
    with pytest.raises(Unavailable):
        list(events)
    stage.assert_free()
    stage.gate.hold(0)
    *_, done = stage.answers.resume(Caller("key:a", "key:a"), started.message_id, 0)
    assert isinstance(done, Done)
    assert (done.answer, done.message_id) == ("Hello there.", started.message_id)


def test_cancelling_while_the_engine_is_exchanged_ends_the_wait() -> None:
    stage = Stage()
    stage.engine.context_error = EngineFailure("gone for a moment")
    stage.gate.hold(60)
    events = stage.ask("Hi")
    started = next(events)
    assert isinstance(started, Started)
    _until_queued(events)
    assert stage.answers.cancel(Caller("key:a", "key:a"), started.message_id)
    *_, done = events
    assert isinstance(done, Done)
    assert done.finish_reason == "cancelled"
    stage.assert_free()
