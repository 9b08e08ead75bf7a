"""Questions that the owner puts to a bot to see what it says.

They go the way of everybody's (rules, passages, the fair queue, the engine), but nothing of them is kept: no visitor's
list, figure or retention has to tell them from what people asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

from chatproxy.core.access import Caller, Limits
from chatproxy.core.answer import AnswerEvent, Answers, Done, Replaced
from chatproxy.core.asking import Question
from chatproxy.core.generation import Queued, Token

# All of the owner's trials are one payer: two answers side by side get one turn where each visitor has one of its own.
_PAYER = "console"
# The limits of API keys are for programs.
_UNLIMITED = Limits(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Tried:
    """How an answer came about: seconds until its first token and until its end, waiting included, and whether it had
    to wait in the queue."""

    done: Done
    first_token_s: float | None
    total_s: float
    queued: bool


class Trials:
    """Answers the owner's trials. `answers` is to keep nothing (core.unkept)."""

    def __init__(self, answers: Answers, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._answers, self._clock = answers, clock

    def ask(self, admin: str, bot: str, question: str) -> Generator[AnswerEvent | Tried]:
        """Yield what Answers.reply yields, and in place of its Done a Tried. Raises as it does."""
        caller = Caller(f"console:{admin}", _PAYER, limits=_UNLIMITED)
        begun, first, queued = self._clock(), None, False
        with closing(self._answers.reply(Question(caller, question, bot=bot))) as events:
            for event in events:
                queued = queued or isinstance(event, Queued)
                if first is None and isinstance(event, Token | Replaced):
                    first = self._clock() - begun
                if isinstance(event, Done):
                    yield Tried(event, first, self._clock() - begun, queued)
                else:
                    yield event
