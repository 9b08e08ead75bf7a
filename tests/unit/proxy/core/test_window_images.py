"""Images take their part of the window: the oldest go first, the question's own stay, and nothing goes silently."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chatproxy.core.prompts import Formats
from chatproxy.core.types import IMAGE_MARK, Bot, Image, Turn
from chatproxy.core.window import Window
from chatproxy.errors import ContextTooLong, InvalidRequest
from tests.unit.proxy.fakes import FakeEngine

CHATML = Formats().get("chatml")
BOT = Bot("b", "B", max_tokens=64)
FIRST, SECOND, THIRD = (Image("image/png", 1, 1, name) for name in (b"first", b"second", b"third"))


def seeing(most: int = 4, *, tokens: int = 100) -> FakeEngine:
    engine = FakeEngine()
    engine.images, engine.tokens_an_image = most, tokens
    return engine


def talk(*shown: tuple[Image, ...], words: int = 1) -> list[Turn]:
    """A conversation with these images, a question for each."""
    turns: list[Turn] = []
    for images in shown:
        turns += [Turn("user", "word " * words, images), Turn("assistant", "word " * words)]
    return turns[:-1]


def test_a_later_question_still_shows_the_earlier_image() -> None:
    fitted = Window(seeing(), 4096).fit(CHATML, BOT, talk((FIRST,), (), (SECOND, THIRD)))
    assert fitted.prompt.images == (FIRST, SECOND, THIRD)
    assert fitted.prompt.text.count(IMAGE_MARK) == 3
    assert not fitted.truncated


def test_the_oldest_images_go_before_any_turn_does() -> None:
    fitted = Window(seeing(tokens=150), 512).fit(CHATML, BOT, talk((FIRST,), (SECOND,), (THIRD,)))
    assert fitted.prompt.images == (SECOND, THIRD)
    assert (fitted.dropped_images, fitted.dropped_turns, fitted.truncated) == (1, 0, True)
    assert fitted.prompt.text.count(IMAGE_MARK) == 2


def test_turns_go_once_only_the_questions_own_images_are_left() -> None:
    fitted = Window(seeing(tokens=200), 512).fit(CHATML, BOT, talk((FIRST,), (), (), (SECOND,), words=40))
    assert fitted.prompt.images == (SECOND,)
    assert fitted.dropped_turns > 0


def test_no_more_images_go_than_one_prompt_may_hold() -> None:
    fitted = Window(seeing(2), 4096).fit(CHATML, BOT, talk((FIRST,), (SECOND,), (THIRD,)))
    assert fitted.prompt.images == (SECOND, THIRD) and fitted.truncated


def test_an_image_that_cannot_fit_is_refused_with_what_it_takes() -> None:
    with pytest.raises(ContextTooLong) as caught:
        Window(seeing(tokens=4192), 4096).fit(CHATML, BOT, talk((FIRST,)))
    assert "4192 of them are counted for the images" in caught.value.public


def test_more_than_the_model_takes_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Window(seeing(1), 4096).fit(CHATML, BOT, talk((FIRST, SECOND)))
    assert caught.value.public == "images: this model takes at most 1 at once"


def test_a_model_that_cannot_see_refuses_the_questions_images_and_forgets_earlier_ones() -> None:
    window = Window(seeing(0), 4096)
    with pytest.raises(InvalidRequest) as caught:
        window.fit(CHATML, BOT, talk((FIRST,)))
    assert caught.value.public == "images: this model takes no images"
    fitted = window.fit(CHATML, BOT, talk((FIRST,), ()))
    assert fitted.prompt.images == () and fitted.truncated


def test_without_images_the_engine_is_not_asked_about_them() -> None:
    class Deaf(FakeEngine):
        def most_images(self) -> int:
            raise AssertionError("asked")

    Window(Deaf(), 4096).fit(CHATML, BOT, talk((), ()))
    Window(Deaf(), 4096).check("", "prompt", 10)


def test_the_mark_in_somebodys_text_is_broken() -> None:
    turns = [replace(turn, text=f"{IMAGE_MARK} <image> {turn.text}") for turn in talk((), (FIRST,))]
    fitted = Window(seeing(), 4096).fit(CHATML, BOT, turns)
    assert fitted.prompt.text.count(IMAGE_MARK) == 1


def test_a_prompt_taken_as_it_stands_counts_its_images() -> None:
    window = Window(seeing(), 512)
    with pytest.raises(ContextTooLong):
        window.check("", "word " * 200, 64, images=(FIRST, SECOND, THIRD))
    passed = window.check("memory", "word\n" * 200, 64, images=(FIRST, SECOND, THIRD))
    assert passed.truncated
