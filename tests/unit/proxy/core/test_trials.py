"""The owner's trials: the way of everybody's questions, timed, and nothing of them kept."""

from __future__ import annotations

import itertools

import pytest

from chatproxy.core.access import Limits
from chatproxy.core.answer import Done, Started
from chatproxy.core.bot_remarks import remarks
from chatproxy.core.generation import Token
from chatproxy.core.trials import Trials, Tried
from chatproxy.core.types import Bot
from chatproxy.core.unkept import Unkept
from chatproxy.errors import EngineFailure, NotFound
from tests.unit.proxy.core.test_answer import Stage
from tests.unit.proxy.fakes import FakeEngine, says


def test_a_trial_is_timed_and_ends_with_what_was_said() -> None:
    stage = Stage()
    seconds = itertools.count()
    events = list(Trials(stage.answers, lambda: float(next(seconds))).ask("anna", "assistant", "Hi"))
    assert isinstance(events[0], Started) and not any(isinstance(event, Done) for event in events)
    tried = events[-1]
    assert isinstance(tried, Tried)
    assert (tried.done.answer, tried.queued) == ("Hello there.", False)
    assert tried.first_token_s is not None and 0 < tried.first_token_s < tried.total_s
    assert "".join(event.text for event in events if isinstance(event, Token)) == "Hello there."


def test_keys_limits_are_not_the_owners() -> None:
    stage = Stage(limits=Limits(requests_per_minute=1, streams=1))
    trials = Trials(stage.answers)
    for _ in range(3):
        assert isinstance(list(trials.ask("anna", "assistant", "Hi"))[-1], Tried)


def test_a_failed_or_abandoned_trial_frees_its_place() -> None:
    stage = Stage(FakeEngine([EngineFailure("gone")]))
    with pytest.raises(EngineFailure):
        list(Trials(stage.answers).ask("anna", "assistant", "Hi"))
    stage.assert_free()
    stage.engine.script = says(*["word "] * 50)
    events = Trials(stage.answers).ask("anna", "assistant", "Hi")
    for event in events:
        if isinstance(event, Token):
            break
    events.close()
    stage.assert_free()
    assert stage.engine.closed == 2


def test_what_is_not_kept_cannot_be_found() -> None:
    unkept = Unkept()
    assert unkept.conversations("console:anna", limit=10, cursor=None).items == ()
    assert unkept.delete_all("console:anna") == 0
    for look in (
        lambda: unkept.conversation("console:anna", "x"),
        lambda: unkept.message("console:anna", "x"),
        lambda: unkept.past("console:anna", "x"),
        lambda: unkept.messages("console:anna", "x", limit=1, cursor=None),
    ):
        with pytest.raises(NotFound):
            look()


@pytest.mark.parametrize(
    ("bot", "told"),
    [
        (Bot("a", "A", system="Help.", mode="sources-only"), "knowledge names no collection"),
        (Bot("a", "A", system="Help.", knowledge=("site", "faq")), "the collection 'faq', which holds nothing yet"),
        (Bot("a", "A", system="Help.", max_tokens=3000), "max_tokens is 3000 of a context window of 4096"),
        (Bot("a", "A"), "without any instructions"),
    ],
)
def test_what_an_owner_has_hardly_meant_is_remarked_upon(bot: Bot, told: str) -> None:
    (remark,) = remarks(bot, {"site"}, 4096)
    assert told in remark


def test_there_is_nothing_to_say_about_a_bot_that_is_as_it_should_be() -> None:
    good = Bot("a", "A", persona="Kind.", knowledge=("site",), mode="sources-only")
    assert list(remarks(good, {"site"}, 4096)) == []
