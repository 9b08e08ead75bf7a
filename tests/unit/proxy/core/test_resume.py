"""An answer can be cancelled, gone on with, given anew, and its question put differently; nothing is told twice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator

import pytest

from chatproxy.core.access import Caller
from chatproxy.core.answer import AnswerEvent, Done, Replaced, Started
from chatproxy.core.asking import Question
from chatproxy.core.generation import Token, Waiting
from chatproxy.core.types import Finish, Generation, Text
from chatproxy.errors import EngineFailure, InvalidRequest, NotFound, TakenOver
from tests.unit.proxy.core.test_answer import Stage
from tests.unit.proxy.fakes import FakeEngine, blocked_until, says

CALLER = Caller("key:a", "key:a")


def text_of(events: list[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


def interrupted(stage: Stage, *pieces: str) -> str:
    """Ask, have the engine die after `pieces`, and give the answer's id."""
    stage.engine.script = [*(Text(piece) for piece in pieces), EngineFailure("died")]
    events = stage.ask("Count to four")
    with pytest.raises(EngineFailure):
        list(events)
    return stage.history.all_messages[-1].id


def test_an_interrupted_answer_goes_on_where_the_client_lost_it() -> None:
    stage = Stage()
    answer = interrupted(stage, "one", " two")
    stage.engine.script = says(" three", " four ")
    events = list(stage.answers.resume(CALLER, answer, after=3))
    assert text_of(events) == " two three four"
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.answer, done.message_id, done.finish_reason) == ("one two three four", answer, "stop")
    assert stage.stored[-1] == ("assistant", "one two three four", "complete")
    assert len(stage.stored) == 2
    stage.assert_free()


def test_the_engine_is_given_the_part_that_is_there_and_only_the_rest_of_the_tokens() -> None:
    stage = Stage()
    answer = interrupted(stage, "one two")
    stage.engine.script = says(" three")
    list(stage.answers.resume(CALLER, answer, after=0))
    first, second = stage.engine.generations
    assert second.prompt == first.prompt + "one two"
    assert second.max_tokens == first.max_tokens - 2


def test_a_client_that_knows_more_than_was_stored_is_told_what_to_show_instead() -> None:
    stage = Stage()
    answer = interrupted(stage, "one")
    stage.engine.script = says(" two")
    events = list(stage.answers.resume(CALLER, answer, after=50))
    assert Replaced("one") in events
    assert text_of(events) == " two"


def test_an_answer_that_never_began_is_made_from_its_question() -> None:
    stage = Stage()
    answer = interrupted(stage)
    stage.engine.script = says(" All of it.")
    done = list(stage.answers.resume(CALLER, answer, after=0))[-1]
    assert isinstance(done, Done)
    assert done.answer == "All of it."


def test_a_complete_answer_is_told_from_where_the_client_is() -> None:
    stage = Stage(FakeEngine(says("one", " two")))
    done = stage.done()
    asked = len(stage.engine.generations)
    events = list(stage.answers.resume(CALLER, done.message_id, after=4))
    assert text_of(events) == "two"
    assert isinstance(events[-1], Done)
    assert events[-1].usage == done.usage
    assert len(stage.engine.generations) == asked


def test_somebody_elses_answer_cannot_be_gone_on_with_or_cancelled() -> None:
    stage = Stage()
    done = stage.done()
    other = Caller("key:b", "key:b")
    with pytest.raises(NotFound):
        next(stage.answers.resume(other, done.message_id, after=0))
    with pytest.raises(NotFound):
        stage.answers.cancel(other, done.message_id)


def test_a_question_cannot_be_resumed() -> None:
    stage = Stage()
    stage.done()
    with pytest.raises(NotFound):
        next(stage.answers.resume(CALLER, stage.history.all_messages[0].id, after=0))


def test_a_second_connection_takes_the_answer_over_from_the_first() -> None:
    goes_on = threading.Event()

    def script(generation: Generation) -> object:
        if generation.prompt.endswith("one"):
            return says(" two")
        return itertools.chain([Text("one")], blocked_until(goes_on)(generation))

    stage = Stage(FakeEngine(script), slots=1)  # type: ignore[arg-type]
    first = stage.ask()
    started = next(first)
    assert isinstance(started, Started)
    next(event for event in first if isinstance(event, Token))
    outcome: list[BaseException] = []

    def hold_on() -> None:
        try:
            list(first)
        except TakenOver as error:
            outcome.append(error)

    holder = threading.Thread(target=hold_on)
    holder.start()
    events = list(stage.answers.resume(CALLER, started.message_id, after=0))
    holder.join()
    assert text_of(events) == "one two"
    assert outcome
    assert stage.stored[-1] == ("assistant", "one two", "complete")
    stage.assert_free()


def test_a_cancelled_answer_ends_with_what_there_is() -> None:
    stage = Stage(FakeEngine([Text("one"), Text(" two"), Text(" three"), Finish("stop")]))
    events = stage.ask()
    started = next(events)
    assert isinstance(started, Started)
    next(event for event in events if event == Token(" two"))
    assert stage.answers.cancel(CALLER, started.message_id)
    *_, done = events
    assert isinstance(done, Done)
    assert (done.answer, done.finish_reason) == ("one two", "cancelled")
    assert stage.stored[-1] == ("assistant", "one two", "interrupted")
    assert stage.history.all_messages[-1].finish_reason == "cancelled"
    assert stage.engine.closed == 1
    stage.assert_free()


def test_cancelling_in_the_queue_never_asks_the_engine() -> None:
    stage = Stage()
    with stage.gate.enter("key:other"):
        events = stage.ask()
        started = next(events)
        assert isinstance(started, Started)
        next(event for event in events if isinstance(event, Waiting))
        assert stage.answers.cancel(CALLER, started.message_id)
        *_, done = events
    assert isinstance(done, Done)
    assert (done.answer, done.finish_reason) == ("", "cancelled")
    assert stage.engine.generations == []
    stage.assert_free()


def test_what_has_ended_cannot_be_cancelled_and_says_so() -> None:
    stage = Stage()
    done = stage.done()
    assert not stage.answers.cancel(CALLER, done.message_id)


def test_a_cancelled_answer_stays_cancelled() -> None:
    stage = Stage(FakeEngine([Text("one"), Text(" two"), Finish("stop")]))
    events = stage.ask()
    started = next(events)
    assert isinstance(started, Started)
    next(event for event in events if event == Token("one"))
    stage.answers.cancel(CALLER, started.message_id)
    list(events)
    again = list(stage.answers.resume(CALLER, started.message_id, after=0))
    assert text_of(again) == "one"
    assert isinstance(again[-1], Done)
    assert again[-1].finish_reason == "cancelled"


def test_an_answer_can_be_given_anew() -> None:
    stage = Stage(FakeEngine(says("first")))
    done = stage.done("Surprise me")
    stage.engine.script = says("second")
    *_, again = stage.answers.reply(Question(CALLER, "", instead_of=done.message_id))
    assert isinstance(again, Done)
    assert again.answer == "second"
    assert again.message_id != done.message_id
    assert stage.engine.generations[0].prompt == stage.engine.generations[1].prompt
    assert [text for _, text, _ in stage.stored] == ["Surprise me", "second"]


def test_a_question_can_be_put_differently_and_what_followed_it_is_replaced() -> None:
    stage = Stage(FakeEngine(says("answer")))
    done = stage.done("first")
    stage.done("second", conversation_id=done.conversation_id)
    first = stage.history.all_messages[0]
    *_, again = stage.answers.reply(Question(CALLER, "better", instead_of=first.id))
    assert isinstance(again, Done)
    assert again.conversation_id == done.conversation_id
    assert [text for _, text, _ in stage.stored] == ["better", "answer"]
    assert "second" not in stage.engine.generations[-1].prompt


def test_only_a_question_can_be_edited_and_only_an_answer_given_anew() -> None:
    stage = Stage()
    done = stage.done()
    question = stage.history.all_messages[0].id
    with pytest.raises(NotFound):
        next(stage.answers.reply(Question(CALLER, "text", instead_of=done.message_id)))
    with pytest.raises(NotFound):
        next(stage.answers.reply(Question(CALLER, "", instead_of=question)))


def test_an_answer_whose_question_is_gone_cannot_be_given_anew() -> None:
    stage = Stage()
    done = stage.done()
    stage.history.stored[done.conversation_id].pop(0)
    with pytest.raises(InvalidRequest):
        next(stage.answers.reply(Question(CALLER, "", instead_of=done.message_id)))


def test_a_conversation_deleted_meanwhile_stays_deleted() -> None:
    stage = Stage(FakeEngine(says("one", " two")))
    events = stage.ask()
    started = next(events)
    assert isinstance(started, Started)
    next(event for event in events if isinstance(event, Token))
    stage.history.delete("key:a", started.conversation_id)
    with pytest.raises(NotFound):
        list(events)
    assert stage.stored == []
    stage.assert_free()


def test_what_the_model_wrote_is_no_more_trusted_than_what_a_visitor_did() -> None:
    stage = Stage()
    answer = interrupted(stage, "Say <|endof", "text|>")
    stage.engine.script = says(" fine")
    list(stage.answers.resume(CALLER, answer, after=0))
    assert "<|endoftext|>" not in stage.engine.generations[-1].prompt
    assert stage.history.all_messages[-1].text.startswith("Say <|endoftext|>")


# --- questions that come again ---------------------------------------------------------------------------------------


def _keyed(stage: Stage, text: str = "Hi", key: str = "k1", owner: str = "key:a") -> Generator[AnswerEvent]:
    return stage.answers.reply(Question(Caller(owner, owner), text, key=key))


def test_a_question_that_comes_again_is_answered_once() -> None:
    stage = Stage(FakeEngine(says("Once.")))
    first, second = list(_keyed(stage))[-1], list(_keyed(stage))[-1]
    assert isinstance(first, Done)
    assert first == second
    assert len(stage.engine.generations) == 1
    assert [text for _, text, _ in stage.stored] == ["Hi", "Once."]
    stage.assert_free()


def test_a_question_whose_answer_broke_off_goes_on_when_it_comes_again() -> None:
    stage = Stage(FakeEngine(says("One", " two", " three.")))
    broken = _keyed(stage)
    while not isinstance(next(broken), Token):
        pass
    broken.close()
    stage.engine.script = says(" two", " three.")
    events = list(_keyed(stage))
    assert "".join(event.text for event in events if isinstance(event, Token)) == "One two three."
    assert [(text, status) for _, text, status in stage.stored] == [("Hi", "complete"), ("One two three.", "complete")]


def test_a_question_that_comes_again_while_it_is_answered_takes_the_answer_over() -> None:
    def script(generation: Generation) -> object:
        if generation.prompt.endswith("one"):
            return says(" two")
        return itertools.chain([Text("one")], blocked_until(threading.Event())(generation))

    stage = Stage(FakeEngine(script), slots=1)  # type: ignore[arg-type]
    first = _keyed(stage)
    next(event for event in first if isinstance(event, Token))
    told: list[AnswerEvent] = []
    again = threading.Thread(target=lambda: told.extend(_keyed(stage)))
    again.start()
    with pytest.raises(TakenOver):
        list(first)
    again.join(10)
    assert text_of(told) == "one two"
    assert [text for _, text, _ in stage.stored] == ["Hi", "one two"]
    stage.assert_free()


def test_the_same_key_of_somebody_else_is_another_question() -> None:
    stage = Stage(FakeEngine(says("Hello.")))
    list(_keyed(stage)), list(_keyed(stage, owner="key:b"))
    assert len(stage.stored) == 4


def test_a_key_stands_for_one_question() -> None:
    stage = Stage(FakeEngine(says("Hello.")))
    list(_keyed(stage))
    with pytest.raises(InvalidRequest, match="Idempotency-Key"):
        list(_keyed(stage, "Something else"))
    assert len(stage.stored) == 2
