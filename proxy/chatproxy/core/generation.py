"""One generation: wait for a slot, stream from an engine, let nothing of a stop string out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from chatproxy.core.access import Caller
from chatproxy.core.engines import Engines
from chatproxy.core.limits import Limiter, Permit
from chatproxy.core.measures import UNMEASURED, Answer, Measures, end_by
from chatproxy.core.ports import Engine
from chatproxy.core.running import Run
from chatproxy.core.slots import Gate, Ticket
from chatproxy.core.stops import StopFilter, TrimFilter
from chatproxy.core.types import Finish, Generation, Idle, Text, Usage
from chatproxy.errors import Busy, EngineFailure, RateLimited

# How often a waiting request looks up: for its place in the queue, and for whether its client is still there.
TICK_S = 0.5
# Once a stop string has come, the engine's own end follows at once or (where it did not notice) never.
_EVENTS_AFTER_STOP = 8
# A piece is a token or more; what goes on far beyond the tokens that were asked for does not know our limit.
_SPARE_PIECES = 64
# No vocabulary has longer tokens (runs of spaces are the longest); more is not what was asked for.
_LONGEST_TOKEN = 256
# Tokens of a prompt whose size was never told: English has about four characters a token.
_CHARACTERS_PER_TOKEN = 4


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


class Place:
    """What a request holds while it waits or generates; leaving the `with` gives everything back.

    Then it is also measured, with what `stream` has come to and the exception that ended it.
    """

    def __init__(
        self, permit: Permit, ticket: Ticket, bot: str = "", *, measures: Measures, clock: Callable[[], float]
    ) -> None:
        self.permit, self.ticket = permit, ticket
        self.stream: _Stream | None = None
        self.admitted_at: float | None = None
        self._bot, self._measures = bot, measures
        self._entered_at = clock()

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ticket.__exit__(kind, error, trace)
        self.permit.release()
        self._measure(error)

    def _measure(self, error: BaseException | None) -> None:
        stream = self.stream
        end = end_by(error) if error else stream.reason if stream else None
        if end is None:
            return
        prompt_tokens, completion_tokens = stream.tokens() if stream else (0, 0)
        answer = Answer(
            end,
            self._bot,
            self._after(self.admitted_at),
            self._after(stream.first_at if stream else None),
            prompt_tokens,
            completion_tokens,
        )
        self._measures.answered(answer)

    def _after(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self._entered_at


class Generations:
    """Runs generations through the gate, one call of `run` for each."""

    def __init__(
        self,
        engines: Engines,
        gate: Gate,
        limiter: Limiter,
        measures: Measures = UNMEASURED,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds."""
        self._engines, self._gate, self._limiter = engines, gate, limiter
        self._measures, self._clock = measures, clock

    def enter(self, caller: Caller, affinity: str = "", *, permit: Permit | None = None, bot: str = "") -> Place:
        """Take a place at the gate, `affinity` as in Gate.enter; without the `permit` of before with a new one.

        The place releases the permit, and so does a failure; `bot` is whose answers are counted. Raises RateLimited
        and Busy.
        """
        with ExitStack() as undo:
            permit = undo.enter_context(permit or self.permit(caller))
            try:
                ticket = self._gate.enter(caller.payer, affinity)
            except Busy:
                self._measures.answered(Answer("refused", bot))
                raise
            place = Place(permit, ticket, bot, measures=self._measures, clock=self._clock)
            self._measures.queued(self._gate.status().waiting)
            undo.pop_all()
            return place

    def permit(self, caller: Caller, *, again: bool = False) -> Permit:
        """Leave to do what costs something: it comes before any of that. `again` as in Limiter.admit.

        Raises RateLimited, StorageUnavailable. Release it.
        """
        if caller.visit:
            self._measures.asked(caller.payer)
        try:
            return self._limiter.admit(caller, again=again)
        except RateLimited:
            self._measures.answered(Answer("refused"))
            raise

    def by_rule(self, bot: str) -> None:
        """Count an answer that was given without any engine."""
        self._measures.answered(Answer("rule", bot))

    @property
    def held(self) -> bool:
        """Whether nobody is admitted, so that an engine which does not answer is being exchanged."""
        return self._gate.status().held

    def turn(self, place: Place, run: Run) -> Generator[GenerationEvent]:
        """Wait for the slot alone; ends early when the run is cancelled. Raises Unavailable."""
        yield from _queue(place.ticket, run)

    def run(
        self, place: Place, generation: Generation, *, trim: bool, run: Run, begun: bool = False
    ) -> Generator[GenerationEvent]:
        """Yield the generation's events, Finished last; each Token is fed to `run`.

        `trim` drops white space around the text; `begun` tells that part of the text is there already, so that white
        space in front belongs to it. Raises TakenOver, EngineFailure and its kind, after another engine was tried
        where there is one and nothing had come yet. Closing the iterator stops the engine.
        """
        stream = place.stream = _Stream(generation, TrimFilter(begun=begun) if trim else None, run, self._clock)
        try:
            while True:
                yield from _queue(place.ticket, run)
                if run.cancelled:
                    stream.reason = "cancelled"
                    break
                place.admitted_at = place.admitted_at or self._clock()
                try:
                    yield from stream.events(self._engines[place.ticket.engine or 0])
                    break
                except (EngineFailure, Busy):
                    if stream.pieces or not place.ticket.retry():
                        raise
            usage = self._usage(generation, run.text, stream)
        finally:
            place.permit.spend(sum(stream.tokens()))
        yield Finished(stream.reason, usage)

    def _usage(self, generation: Generation, answer: str, stream: _Stream) -> Usage:
        """The engine's own figures; where it gives none, its tokenizer's; None where even that fails, or where images
        have taken what only the engine knows."""
        if stream.reason == "cancelled":
            return Usage(None, None)  # whoever cancelled does not wait for two more calls
        finish = stream.finish
        stream.usage = Usage(
            finish.prompt_tokens if finish and finish.prompt_tokens is not None else self._count_prompt(generation),
            finish.completion_tokens if finish and finish.completion_tokens is not None else self._count(answer),
        )
        return stream.usage

    def _count_prompt(self, generation: Generation) -> int | None:
        return None if generation.images else self._count(generation.prompt)

    def _count(self, text: str) -> int | None:
        try:
            return self._engines.count_tokens(text) if text else 0
        except EngineFailure:
            return None  # an answer is there: it is not thrown away because its size is unknown


class _Stream:
    """One generation's way through the filters, and what came of it."""

    def __init__(self, generation: Generation, trim: TrimFilter | None, run: Run, clock: Callable[[], float]) -> None:
        self._generation, self._trim, self._run, self._clock = generation, trim, run, clock
        self._stop = StopFilter(generation.stops)
        self._characters = 0
        self._over = False
        self.pieces = 0
        self.read = False
        self.first_at: float | None = None
        self.finish: Finish | None = None
        self.usage = Usage(None, None)
        self.reason: Literal["stop", "length", "cancelled"] = "stop"

    def events(self, engine: Engine) -> Generator[GenerationEvent]:
        """The engine's stream as it may be shown."""
        overtime = 0
        with closing(engine.generate(self._generation)) as events:
            for event in events:
                self.read = True
                if self._run.cancelled:
                    self.reason = "cancelled"
                    return
                if isinstance(event, Idle):
                    yield Waiting()
                    continue
                piece = self._shown(event)
                if piece:
                    if self.first_at is None:
                        self.first_at = self._clock()
                    self._run.feed(piece)
                    yield Token(piece)
                overtime += self._stop.stopped
                if self.finish or self._over or overtime > _EVENTS_AFTER_STOP:
                    break
        if self._stop.stopped:
            return
        if not self.finish and not self._over:
            raise EngineFailure("the engine's stream ended without an end")
        self.reason = self.finish.reason if self.finish else "length"

    def _shown(self, event: Text | Finish) -> str:
        if isinstance(event, Text):
            self.pieces += event.tokens
            self._characters += len(event.text)
            most = self._generation.max_tokens
            self._over = self.pieces > most + _SPARE_PIECES or self._characters > (most + 1) * _LONGEST_TOKEN
            piece = self._stop.feed(event.text)
        else:
            self.finish = event
            piece = self._stop.flush()
        return self._trim.feed(piece) if self._trim else piece

    def tokens(self) -> tuple[int, int]:
        """Tokens of prompt and answer to book: as counted, or as a guess where it ended early; none where no engine
        took the prompt."""
        if not self.read:
            return 0, 0
        prompt = self.usage.prompt_tokens or len(self._generation.prompt) // _CHARACTERS_PER_TOKEN
        return prompt, self.usage.completion_tokens or self.pieces


def _queue(ticket: Ticket, run: Run) -> Generator[Queued | Waiting]:
    """Wait for the slot; ends early when the run is cancelled."""
    told = 0
    while not ticket.wait(0) and not run.cancelled:
        place, eta_s = ticket.position()
        if place and place != told:
            told = place
            yield Queued(place, eta_s)
        elif not ticket.wait(TICK_S):
            yield Waiting()
