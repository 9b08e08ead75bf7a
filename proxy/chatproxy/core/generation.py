"""One generation: wait for a slot, stream from the engine, let nothing of a stop string out."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from chatproxy.core.ports import Engine
from chatproxy.core.running import Run
from chatproxy.core.slots import Gate, Ticket
from chatproxy.core.stops import StopFilter, TrimFilter
from chatproxy.core.types import Caller, Finish, Generation, Idle, Text, Usage
from chatproxy.errors import EngineFailure

# How often a waiting request looks up: for its place in the queue, and for whether its client is still there.
TICK_S = 0.5
# Once a stop string has come, the engine's own end follows at once or (where it did not notice) never.
_EVENTS_AFTER_STOP = 8


@dataclass(frozen=True, slots=True)
class Queued:
    """The place in the queue has changed; `eta_s` is None while nothing is known about speed."""

    position: int
    eta_s: int | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing to tell, still at work: the moment to send a ping and to see whether the client has left."""


@dataclass(frozen=True, slots=True)
class Token:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a generation."""

    reason: Literal["stop", "length", "cancelled"]
    usage: Usage


GenerationEvent = Queued | Waiting | Token | Finished


class Generations:
    """Runs generations through the gate, one call of `run` for each."""

    def __init__(self, engine: Engine, gate: Gate) -> None:
        self._engine = engine
        self._gate = gate

    def enter(self, caller: Caller) -> Ticket:
        """Take a place at the gate. Raises RateLimited and Busy."""
        return self._gate.enter()

    def run(
        self, ticket: Ticket, generation: Generation, *, trim: bool, run: Run | None = None
    ) -> Generator[GenerationEvent]:
        """Yield the generation's events, Finished last. `trim` drops white space around the text.

        Raises EngineFailure and its kind. Closing the iterator stops the engine.
        """
        yield from _queue(ticket)
        stop_filter, trim_filter = StopFilter(generation.stops), TrimFilter()
        answer: list[str] = []
        finish: Finish | None = None
        overtime = 0
        with closing(self._engine.generate(generation)) as events:
            for event in events:
                piece = ""
                match event:
                    case Idle():
                        yield Waiting()
                    case Text():
                        piece = stop_filter.feed(event.text)
                    case Finish():
                        finish = event
                        piece = stop_filter.flush()
                piece = trim_filter.feed(piece) if trim else piece
                if piece:
                    answer.append(piece)
                    yield Token(piece)
                overtime += stop_filter.stopped
                if finish or overtime > _EVENTS_AFTER_STOP:
                    break
        if not finish and not stop_filter.stopped:
            raise EngineFailure("the engine's stream ended without an end")
        reason = finish.reason if finish and not stop_filter.stopped else "stop"
        yield Finished(reason, self._usage(generation.prompt, "".join(answer), finish))

    def _usage(self, prompt: str, answer: str, finish: Finish | None) -> Usage:
        """The engine's own figures; where it gives none, its tokenizer's; None where even that fails."""
        return Usage(
            finish.prompt_tokens if finish and finish.prompt_tokens is not None else self._count(prompt),
            finish.completion_tokens if finish and finish.completion_tokens is not None else self._count(answer),
        )

    def _count(self, text: str) -> int | None:
        try:
            return self._engine.count_tokens(text) if text else 0
        except EngineFailure:
            return None  # an answer is there: it is not thrown away because its size is unknown


def _queue(ticket: Ticket) -> Generator[Queued | Waiting]:
    told = 0
    while not ticket.wait(0):
        place, eta_s = ticket.position()
        if place and place != told:
            told = place
            yield Queued(place, eta_s)
        elif not ticket.wait(TICK_S):
            yield Waiting()
