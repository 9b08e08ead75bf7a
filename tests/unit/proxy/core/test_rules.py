"""Rules answer where a phrase is there as whole words, in any letter case, in any script, in linear time."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core.rules import answer_by_rule
from chatproxy.core.types import Bot, Rule

# A few letters stand for two characters, one of them a point or an apostrophe (U+013F, U+0149): a word of its own.
LETTER = st.characters(categories=["Lu", "Ll"]).filter(lambda c: unicodedata.is_normalized("NFKC", c))
LETTERS = st.text(LETTER, min_size=1, max_size=12)
PHRASES = st.lists(LETTERS, min_size=1, max_size=4).map(" ".join)


def bot(*rules: tuple[str, str]) -> Bot:
    return Bot("b", "B", rules=tuple(Rule((phrase,), answer) for phrase, answer in rules))


def matches(phrase: str, text: str) -> bool:
    return answer_by_rule(bot((phrase, "yes")).rules, text) == "yes"


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("refund", "I want a REFUND!"),
        ("opening hours", "Your  opening\n hours?"),
        ("straße", "In welcher STRASSE?"),
        ("café", "The cafe\u0301, please"),
        ("what's", "What’s up"),
        ("c++", "Do you like C++?"),
        ("refund", "ｒｅｆｕｎｄ"),
        ("refund", "re\u00adfund"),
        ("退款", "我要退款。"),
        ("คืนเงิน", "ขอคืนเงินด้วย"),
        ("हिन्दी", "क्या हिन्दी?"),
        ("❤", "I ❤️ it"),
        ("mail", "your e-mail"),
        ("a_b", "(a_b)"),
    ],
)
def test_these_match(phrase: str, text: str) -> None:
    assert matches(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("refund", "refunded"),
        ("refund", "prerefund"),
        ("opening hours", "opening your hours"),
        ("c++", "plan C"),
        ("हिन्द", "क्या हिन्दी?"),
        ("cafe", "café"),
        ("", "anything"),
        (" \u200b ", "  "),
        ("\x00", "a\x00b"),
        ("a", ""),
    ],
)
def test_these_do_not(phrase: str, text: str) -> None:
    assert not matches(phrase, text)


@given(PHRASES, st.text(), st.text())
def test_a_phrase_between_spaces_is_found_in_any_letter_case(phrase: str, before: str, after: str) -> None:
    for said in (phrase, phrase.upper(), phrase.casefold()):
        if said.casefold() == phrase.casefold():  # "ŉ".upper().casefold() is another text
            assert matches(phrase, f"{before} {said} {after}")


@given(LETTERS, LETTERS, LETTERS)
def test_a_part_of_a_word_is_not_the_word(before: str, word: str, after: str) -> None:
    whole = before + word + after
    assert not matches(word, whole)
    assert matches(whole, whole)


@given(st.text(), st.text())
def test_no_text_is_too_odd(phrase: str, text: str) -> None:
    if matches(phrase, text):
        assert matches(phrase, f"{text} and more")
        assert matches(phrase, f"more and {text}")


@given(st.text(st.characters(max_codepoint=0x7F), max_size=40), st.sampled_from(["a", "ab", "a b", "a.b", "_"]))
def test_on_ascii_it_agrees_with_a_reading_word_by_word(text: str, phrase: str) -> None:
    def words(whole: str) -> list[str]:
        spaced = "".join(
            c if c.isalnum() or c == "_" else " " if c.isspace() or unicodedata.category(c) == "Cc" else f" {c} "
            for c in whole.lower()
        )
        return spaced.split()

    asked, wanted = words(text), words(phrase)
    found = any(asked[at : at + len(wanted)] == wanted for at in range(len(asked)))
    assert matches(phrase, text) == found


def test_the_first_rule_wins_whichever_phrase_comes_first() -> None:
    both = bot(("billing", "first"), ("hello", "second"))
    assert answer_by_rule(both.rules, "hello, about billing") == "first"
    assert answer_by_rule(both.rules, "hello") == "second"
    assert answer_by_rule(both.rules, "nothing of it") is None


def test_any_phrase_of_a_rule_will_do() -> None:
    rule = Bot("b", "B", rules=(Rule(("one", "two words"), "yes"),))
    assert answer_by_rule(rule.rules, "Two words") == answer_by_rule(rule.rules, "ONE") == "yes"


def test_without_rules_there_is_no_answer() -> None:
    assert answer_by_rule(bot().rules, "hello") is None


@pytest.mark.parametrize(
    "text",
    [
        "a " * 100_000,
        "aa" * 100_000,
        "+" * 200_000,
        "a" + "\u0315\u0300" * 100_000,  # combining marks out of order: sorting them all takes minutes
        "\ufdfa" * 50_000,  # one character that NFKC makes eighteen of
        "\u3042" * 200_000,
    ],
)
def test_the_longest_messages_take_no_time_worth_an_attack(text: str) -> None:
    rules = bot(("a a a a b", "x"), ("a" * 200, "y"), ("+ + b", "z"))
    begun = time.process_time()
    assert answer_by_rule(rules.rules, text) is None
    assert time.process_time() - begun < 5
