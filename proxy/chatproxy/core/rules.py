"""Rules: fixed answers to questions that hold certain words, given without the engine.

A phrase matches as whole words, whatever the letter case: "refund" is in "A REFUND, please" and not in "refunded".
Words are runs of letters, marks, digits and underscores; every other visible character is a word of its own ("C++" is
not in "C"). Scripts that put no spaces between words have each of their characters for a word, since where their words
end cannot be told without a dictionary.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from chatproxy.core.types import Rule

# The first of these is what keyboards have, the others what phones and word processors make of it.
_APOSTROPHES = "'\u2018\u2019\u02bc"
# Thai, Lao, Myanmar, Khmer; kana; ideographs.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)
# Python sorts a run of combining marks in quadratic time, so it gets runs of at most this many characters: a word of
# more is none that a phrase could name.
_RUN = re.compile(r"\S{1,256}")


def answer_by_rule(rules: Sequence[Rule], text: str) -> str | None:
    """The answer of the first of `rules` with a phrase in `text`, or None. Takes time linear in `text`."""
    if not rules:
        return None
    asked = _words(text)
    for rule in rules:
        if any(_words_of_phrase(phrase) in asked for phrase in rule.phrases):
            return rule.answer
    return None


def is_unspaced(character: str) -> bool:
    """Whether it is of a script that puts no spaces between words."""
    return any(first <= ord(character) <= last for first, last in _UNSPACED)


def has_words(phrase: str) -> bool:
    """Whether a phrase can be in any text."""
    return bool(_words(phrase).strip())


@lru_cache(maxsize=4096)
def _words_of_phrase(phrase: str) -> str:
    words = _words(phrase)
    return words if words.strip() else "\x00"  # a phrase without any word is in no text


def _words(text: str) -> str:
    """The words with one space around each, so that a phrase of whole words is simply a part of the text."""
    folded = _normal(_normal(text).casefold())
    return f" {' '.join(folded.translate(_SPACING).split())} "


def _normal(text: str) -> str:
    """NFKC: full-width letters, ligatures and composed accents become the same as their plain forms."""
    if text.isascii():
        return text
    return _RUN.sub(lambda run: unicodedata.normalize("NFKC", run[0]), text)


class _Spacing:
    """What str.translate puts for each character, by its code."""

    def __getitem__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Cf" or code in _VARIATION_SELECTORS:  # soft hyphens, joiners: not to be seen
            return ""
        if category[0] == "Z" or category == "Cc":
            return " "
        if character in _APOSTROPHES:
            return f" {_APOSTROPHES[0]} "
        if is_unspaced(character):
            return f" {character} "
        return character if category[0] in "LMN" or character == "_" else f" {character} "


_SPACING = _Spacing()
