"""Where a text that is too long may be parted: at a sentence's end, else a clause's, else between words, else anywhere.

A rule and not a model, because it must hold for every language, and because a sentence end that is overlooked costs
nothing but a longer piece.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_CLOSING = r"[\"'”’»›)\]}」』）】》]*"
# Full stops that need no space behind them: CJK, Devanagari, Arabic, Urdu, Armenian, Khmer, Myanmar, Ethiopic.
_SENTENCE_END = re.compile(rf"(?:[。！？｡．]+{_CLOSING}\s*)|(?:[.!?…।॥؟۔։។၊။።]+{_CLOSING}\s+)|\n\s*\n\s*")
_CLAUSE_END = re.compile(r"[,;:–—،؛]+\s+|[，、；：]+\s*|\n")
_WORD_END = re.compile(r"\s+")
# A stop behind one of these ends no sentence: initials, and the abbreviations that stand in front of a capital.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[„“\"'])(?:[^\W\d_]|[A-Z][a-z]?|e\.g|i\.e|z\.\s?B|d\.\s?h|u\.\s?a|Mrs?|Ms|Drs?|Prof|Sra?|St|vs|etc|cf|bzw|ca|"
    r"evtl|ggf|Nr|No|Abs|Art|Abb|Fig|Eq|Sec|Vol|pp|ed|Inc|Ltd|Co|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Okt|Nov|De[cz])\.$"
)


def sentences(text: str) -> list[str]:
    """`text` in pieces that join to it again, parted behind sentences' ends and at empty lines."""
    return _parted(text, _SENTENCE_END, _ends_sentence)


def finer(text: str) -> list[str]:
    """`text` in two pieces or more that join to it again, as coarse as it can be parted; one of it is one character."""
    for pieces in (
        sentences(text),
        _parted(text, _CLAUSE_END, _always),
        _parted(text, _WORD_END, _always),
    ):
        if len(pieces) > 1:
            return pieces
    middle = len(text) // 2
    return [text[:middle], text[middle:]] if middle else [text]


def _parted(text: str, end: re.Pattern[str], ends: Callable[[str, int, int], bool]) -> list[str]:
    pieces, start = [], 0
    for found in end.finditer(text):
        if found.end() < len(text) and text[start : found.start()].strip() and ends(text, found.start(), found.end()):
            pieces.append(text[start : found.end()])
            start = found.end()
    return [*pieces, text[start:]]


def _always(_text: str, _start: int, _stop: int) -> bool:
    return True


def _ends_sentence(text: str, start: int, stop: int) -> bool:
    if text[start] != ".":
        return True
    # No sentence begins with a small letter; an abbreviation's stop is the only one behind it.
    return not text[stop].islower() and not _ABBREVIATION.search(text[max(0, start - 12) : start + 1])
