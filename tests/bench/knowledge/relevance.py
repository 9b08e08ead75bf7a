"""What counts as found, the same for every pipeline.

A passage answers a question when it is of the page that does and
  - most of its words lie in the section that answers it, or
  - it holds nearly all of that section, and the section is no small part of it.
Words are compared as runs of five, so that neither spacing nor Markdown nor where a pipeline cuts its text makes a
difference. The second rule is for short sections, which every pipeline tells together with their neighbours; its bound
keeps a passage from being right by being long.

A question has one section, and a section counts once, at the first passage that answers: nDCG is 1 / log2(rank + 1) of
that passage, so that nobody gains by telling one section in many passages or loses by joining them.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

from tests.bench.knowledge.corpus import Question, runs

# Of the passage's runs, those in the section.
_MOSTLY = 0.5
# Of the section's runs, those in the passage; and then of the passage's, those in the section.
_WHOLE, _NO_SMALL_PART = 0.8, 0.2
_RESAMPLED = 10_000
Found = Sequence[tuple[str, str]]  # (path of the page, text), best first


def answers(question: Question, page: str, text: str) -> bool:
    said = runs(text)
    if page != question.page or not said:
        return False
    common = len(said & question.runs)
    inside, held = common / len(said), common / len(question.runs)
    return inside >= _MOSTLY or (held >= _WHOLE and inside >= _NO_SMALL_PART)


def rank(question: Question, found: Found) -> int | None:
    """The place, from 1, of the first passage that answers."""
    return next((at for at, (page, text) in enumerate(found, 1) if answers(question, page, text)), None)


def recall(ranks: Sequence[int | None], most: int) -> float:
    return sum(place is not None and place <= most for place in ranks) / len(ranks)


def gains(ranks: Sequence[int | None], most: int = 10) -> list[float]:
    """nDCG of each question."""
    return [1 / math.log2(place + 1) if place is not None and place <= most else 0.0 for place in ranks]


def interval(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """95 % of the mean difference, question by question, by bootstrap over the questions."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    chance = random.Random(1)
    means = sorted(statistics.fmean(chance.choices(differences, k=len(differences))) for _ in range(_RESAMPLED))
    return means[int(_RESAMPLED * 0.025)], means[int(_RESAMPLED * 0.975) - 1]
