"""What fits is kept, the oldest goes in large steps, and what cannot fit is refused with the numbers."""

from __future__ import annotations

import pytest

from chatproxy.core.prompts import Formats
from chatproxy.core.types import Bot, Turn
from chatproxy.core.window import Passed, Window
from chatproxy.errors import ContextTooLong, EngineFailure
from tests.unit.proxy.fakes import FakeEngine

CHATML = Formats().get("chatml")
BOT = Bot("b", "B", system="SYSTEM", greeting="GREETING", max_tokens=64)


def turns(count: int, words: int = 10) -> list[Turn]:
    """A conversation of `count` turns, the last one the user's; each names its number."""
    said = [
        Turn("user" if n % 2 == 0 else "assistant", " ".join([f"turn{n}."] + ["word"] * (words - 1)))
        for n in range(count)
    ]
    return said if count % 2 else said[:-1]


def test_a_short_conversation_is_whole_and_costs_no_question_to_the_engine() -> None:
    engine = FakeEngine()
    fitted = Window(engine, 4096).fit(CHATML, BOT, turns(3))
    assert fitted.dropped_turns == 0
    assert engine.counted == []


def test_system_text_greeting_and_newest_turn_are_always_kept() -> None:
    fitted = Window(FakeEngine(), 512).fit(CHATML, BOT, turns(101))
    assert fitted.dropped_turns > 0
    assert "SYSTEM" in fitted.prompt.text
    assert "GREETING" in fitted.prompt.text
    assert "turn100." in fitted.prompt.text
    assert "turn0." not in fitted.prompt.text


def test_what_is_kept_fits_the_budget() -> None:
    engine = FakeEngine()
    for count in range(1, 120, 2):
        fitted = Window(engine, 512).fit(CHATML, BOT, turns(count))
        assert engine.count_tokens(fitted.prompt.text) <= 512 * 0.95 - 64


def test_history_is_dropped_in_large_steps() -> None:
    """While a conversation grows by 100 turns, its beginning moves only a few times."""
    window = Window(FakeEngine(), 1024)
    dropped = [window.fit(CHATML, BOT, turns(count)).dropped_turns for count in range(1, 200, 2)]
    assert dropped == sorted(dropped)
    assert max(dropped) > 100
    assert len(set(dropped)) <= 8


def test_the_engines_own_context_counts_when_it_is_smaller() -> None:
    assert Window(FakeEngine(context=512), 4096).context_size() == 512
    assert Window(FakeEngine(context=8192), 4096).context_size() == 4096


def test_an_answer_takes_half_of_a_small_context_at_most() -> None:
    fitted = Window(FakeEngine(), 512).fit(CHATML, Bot("b", "B", max_tokens=2048), turns(1))
    assert fitted.max_tokens == 256


def test_a_message_that_cannot_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(ContextTooLong) as caught:
        Window(FakeEngine(), 512).fit(CHATML, BOT, [*turns(4), Turn("user", "word " * 600)])
    assert "422" in caught.value.public  # 512 * 0.95 - 64 tokens fit
    assert "512" in caught.value.public
    assert "64" in caught.value.public


def test_one_long_turn_between_short_ones_is_dropped_with_what_came_before_it() -> None:
    said = [Turn("user", "early"), Turn("assistant", "word " * 400), Turn("user", "late"), Turn("assistant", "ok")]
    fitted = Window(FakeEngine(), 512).fit(CHATML, BOT, [*said, Turn("user", "newest")])
    assert fitted.dropped_turns == 2
    assert "late" in fitted.prompt.text


def test_an_engine_that_cannot_count_is_an_error_not_a_guess() -> None:
    engine = FakeEngine()
    engine.count_error = EngineFailure("down")
    with pytest.raises(EngineFailure):
        Window(engine, 512).fit(CHATML, BOT, turns(101))


def test_a_raw_prompt_is_never_cut() -> None:
    window = Window(FakeEngine(), 512)
    assert window.check("", "word " * 100, 80, 256) == Passed("word " * 100, 256, False)
    with pytest.raises(ContextTooLong, match="200 tokens and 80 are asked for, but the context window is 256"):
        window.check("", "word " * 200, 80, 256)


def test_behind_a_memory_the_beginning_of_a_raw_prompt_is_left_out_and_told() -> None:
    window = Window(FakeEngine(), 512)
    story = "".join(f"line {number} of the story\n" for number in range(100))
    passed = window.check("Memory. ", story, 80, 256)
    assert passed.truncated
    assert passed.text.startswith("Memory. line ")
    assert passed.text.endswith("line 99 of the story\n")
    assert len(passed.text.split()) <= 256 - 80
    with pytest.raises(ContextTooLong):
        window.check("word " * 250, "end", 80, 256)


def test_the_place_where_a_raw_prompt_begins_moves_in_large_steps() -> None:
    window = Window(FakeEngine(), 512)
    begins = set()
    for lines in range(100, 140):
        story = "".join(f"line {number} of the story\n" for number in range(lines))
        begins.add(window.check("Memory. ", story, 80, 256).text[:20])
    assert len(begins) <= 5


@pytest.mark.parametrize(("count", "words"), [(401, 60), (1001, 500), (1001, 5)])
def test_a_long_conversation_is_fitted_with_a_few_counts(count: int, words: int) -> None:
    engine = FakeEngine()
    long = [Turn("user" if number % 2 == 0 else "assistant", "word " * words) for number in range(count)]
    fitted = Window(engine, 4096).fit(CHATML, BOT, long)
    assert fitted.dropped_turns % 2 == 0
    assert len(engine.counted) <= 6
    assert sum(map(len, engine.counted)) < 6 * 16 * 4096


def test_no_more_is_left_out_than_one_block() -> None:
    engine = FakeEngine()
    long = [Turn("user" if number % 2 == 0 else "assistant", "abc " * 100) for number in range(101)]
    fitted = Window(engine, 4096).fit(CHATML, BOT, long)
    budget = int(4096 * 0.95) - fitted.max_tokens
    assert budget * 0.4 < engine.count_tokens(fitted.prompt.text) <= budget
