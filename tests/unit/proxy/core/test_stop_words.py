"""What is left of a question when the words that every question is built with are gone."""

from __future__ import annotations

import pytest

from chatproxy.core.stop_words import telling


@pytest.mark.parametrize(
    ("question", "left"),
    [
        ("how do i cancel my order", ["cancel", "order"]),
        ("wie kann ich meine bestellung stornieren", ["bestellung", "stornieren"]),
        ("comment est ce que je peux annuler", ["annuler"]),
        ("hoe kan ik mijn bestelling annuleren", ["bestelling", "annuleren"]),
    ],
)
def test_the_words_of_questions_are_left_out(question: str, left: list[str]) -> None:
    assert telling(question.split()) == left


def test_another_languages_stop_words_stay() -> None:
    assert telling(["how", "do", "i", "die"]) == ["die"]
    assert telling(["what", "is", "a", "man", "page"]) == ["man", "page"]


def test_some_questions_say_nothing_of_their_subject() -> None:
    assert telling(["who", "are", "you"]) == []
    assert telling([]) == []
