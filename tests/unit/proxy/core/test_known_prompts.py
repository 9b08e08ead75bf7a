"""What the engine told of earlier prompts spares it the counting of the next one, and never makes one look shorter."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chatproxy.core.known_prompts import KnownPrompts
from chatproxy.core.prompts import Formats
from chatproxy.core.types import Turn
from chatproxy.core.window import Window
from chatproxy.errors import ContextTooLong, EngineFailure
from tests.unit.proxy.fakes import ASSISTANT, FakeEngine

CHATML = Formats().get("chatml")
# More bytes than the window of 400 tokens has, far fewer words.
SAID = "harbour " * 40


def test_the_bound_is_what_was_told_and_a_token_for_every_byte_behind_it() -> None:
    known = KnownPrompts()
    known.note("a", "Once upon", 2, "m")
    assert known.bound("a", "Once upon a té", "m") == 2 + len(" a té".encode()) + 16
    assert known.bound("a", "Once upon", "m") == 2 + 16


@pytest.mark.parametrize(
    ("conversation", "prompt", "model"),
    [("b", "Once upon a", "m"), ("a", "Once Upon a", "m"), ("a", "Once", "m"), ("a", "Once upon a", "other")],
    ids=["another conversation", "another beginning", "shorter than what is known", "another model"],
)
def test_nothing_is_known_of_what_does_not_begin_so(conversation: str, prompt: str, model: str) -> None:
    known = KnownPrompts()
    known.note("a", "Once upon", 2, "m")
    assert known.bound(conversation, prompt, model) is None


def test_the_longest_unused_are_forgotten() -> None:
    known = KnownPrompts()
    for number in range(5000):
        known.note(str(number), "x", 1, "m")
    assert known.bound("0", "x", "m") is None
    assert known.bound("4999", "x", "m") == 17


def _turns(*texts: str) -> Sequence[Turn]:
    return [Turn("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]


def test_a_conversation_that_goes_on_is_not_counted_anew() -> None:
    engine = FakeEngine()
    window = Window(engine, 600)
    first = window.fit(CHATML, ASSISTANT, _turns(SAID), conversation="c")
    window.learn("c", first.prompt.text, 60)
    second = _turns(SAID, SAID[:100], "And then?")
    assert window.fit(CHATML, ASSISTANT, second, conversation="c").dropped_turns == 0
    assert engine.counted == []
    window.fit(CHATML, ASSISTANT, second, conversation="another")
    assert len(engine.counted) == 1


def test_what_may_no_longer_fit_is_counted() -> None:
    engine = FakeEngine()
    window = Window(engine, 600)
    first = window.fit(CHATML, ASSISTANT, _turns(SAID), conversation="c")
    window.learn("c", first.prompt.text, 400)
    window.fit(CHATML, ASSISTANT, _turns(SAID, SAID, SAID), conversation="c")
    assert engine.counted
    with pytest.raises(ContextTooLong):
        window.fit(CHATML, ASSISTANT, _turns(SAID, "Yes.", "word " * 700), conversation="c")


def test_an_engine_that_cannot_name_its_model_costs_no_answer() -> None:
    class Nameless(FakeEngine):
        def model(self) -> str:
            raise EngineFailure("down")

    Window(Nameless(), 600).learn("c", "prompt", 5)
