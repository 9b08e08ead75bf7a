"""The whole flow of one reply, as one generator of events.

    rule? -> place at the gate -> prompt that fits -> engine asked -> question stored -> tokens -> answer stored

The question is on disk, with its answer's empty place beside it, before the client hears anything; the engine reads the
prompt meanwhile, or the request waits in the queue. Whatever ends the reply early (engine, storage, the client leaving,
a crash) frees the slot, stops the engine and leaves the part of the answer that was there as interrupted; `resume` goes
on from it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import chain

from chatproxy.core.access import Caller
from chatproxy.core.asking import Ask, Asking, Question
from chatproxy.core.generation import Finished, GenerationEvent, Generations, Place, Queued, Token, Waiting
from chatproxy.core.ports import History
from chatproxy.core.running import Run, Running
from chatproxy.core.rush import Rush
from chatproxy.core.sampling import PRESETS
from chatproxy.core.types import FinishReason, Generation, Message, Status, Usage
from chatproxy.core.window import Fitted, Window
from chatproxy.errors import ChatProxyError, EngineFailure, InvalidRequest, NotFound

_log = logging.getLogger(__name__)
# How often the part of an answer that is there is stored: what a crash of this process may lose of it. With hundreds of
# streams more often would cost more than the streams do.
_STORE_EVERY_S = 10.0
# How long an answer's earlier connection may take to notice that another one goes on with it.
_TAKE_OVER_S = 5.0


@dataclass(frozen=True, slots=True)
class Started:
    """The question is stored and has a place at the gate; `message_id` is the coming answer's."""

    conversation_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """What the client has of the answer is more than was stored: it goes on from `text` instead."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is stored. `context_truncated` tells that older turns no longer fitted the prompt."""

    conversation_id: str
    message_id: str
    answer: str
    finish_reason: FinishReason
    usage: Usage
    context_truncated: bool


AnswerEvent = Started | Queued | Waiting | Token | Replaced | Done


class Answers:
    """Answers questions."""

    def __init__(
        self, asking: Asking, generations: Generations, window: Window, history: History, running: Running
    ) -> None:
        self._asking, self._generations, self._window = asking, generations, window
        self._history, self._running = history, running
        self._rush = Rush()

    def reply(self, question: Question) -> Generator[AnswerEvent]:
        """Yield Started first and Done last.

        Raises before Started, with nothing stored: NotFound, InvalidRequest, RateLimited, Busy, ContextTooLong,
        StorageUnavailable. Raises later, the question stored: EngineFailure and its kind, StorageUnavailable.
        A question that has come before (see Question.key) goes on with its answer, as `resume` does.
        """
        with ExitStack() as held:
            if question.key:
                claim = self._running.claim(question.caller.owner, question.answer_id, timeout_s=_TAKE_OVER_S)
                run = held.enter_context(claim)
                known = self._known(question)
                if known is not None:
                    yield from self._go_on(known, run, after=0)
                    return
            with self._rush.turn():
                ask = self._asking.of(question)
                if ask.rule is None:
                    place = held.enter_context(self._generations.enter(ask.caller, ask.conversation.id))
                    if not question.key:
                        run = held.enter_context(self._running.track(ask.caller.owner, ask.answer.id))
                    fitted = self._fit(ask)
                    generation = held.enter_context(closing(self._generate(ask, place, run, fitted)))
                    events = _begun(generation)
                    self._asking.store(ask)
            if ask.rule is not None:
                yield from self._by_rule(ask, ask.rule)
                return
            yield Started(ask.conversation.id, ask.answer.id)
            yield from self._answer(ask, run, events, _truncated(fitted))

    def resume(self, caller: Caller, message_id: str, after: int) -> Generator[AnswerEvent]:
        """Go on with an answer behind its first `after` characters; one that is complete is told again.

        Yields and raises as `reply` does. Whoever is still connected to the answer is told TakenOver.
        """
        with self._running.claim(caller.owner, message_id, timeout_s=_TAKE_OVER_S) as run:
            yield from self._go_on(self._asking.again(caller, message_id), run, after)

    def cancel(self, caller: Caller, message_id: str) -> bool:
        """End an answer that is being made; its own connection gets what there is of it. Raises NotFound.

        Returns whether there was anything to end.
        """
        run = self._running.find(caller.owner, message_id)
        if run is None:
            self._history.message(caller.owner, message_id)
            return False
        run.cancel()
        return True

    def _known(self, question: Question) -> Ask | None:
        """What there is already of a question that has come before. Raises InvalidRequest for another one."""
        try:
            ask = self._asking.again(question.caller, question.answer_id)
        except NotFound:
            return None
        if question.text and ask.turns and ask.turns[-1].text != question.text:
            raise InvalidRequest("Idempotency-Key: has been used for another question")
        return ask

    def _go_on(self, ask: Ask, run: Run, after: int) -> Generator[AnswerEvent]:
        stored = ask.answer
        if stored.finish_reason is not None:
            yield Started(ask.conversation.id, stored.id)
            yield from _told(stored.text, after)
            usage = stored.usage or Usage(None, None)
            yield Done(ask.conversation.id, stored.id, stored.text, stored.finish_reason, usage, False)
            return
        # Whoever lost the line has not asked anew.
        with self._generations.enter(ask.caller, ask.conversation.id, again=True) as place:
            fitted = self._fit(ask)
            yield Started(ask.conversation.id, stored.id)
            yield from _told(stored.text, after)
            with closing(self._generate(ask, place, run, fitted)) as events:
                yield from self._answer(ask, run, events, _truncated(fitted))

    def _by_rule(self, ask: Ask, text: str) -> Generator[AnswerEvent]:
        permit = self._generations.permit(ask.caller)
        try:
            none = Usage(0, 0)
            answer = replace(ask.answer, text=text, status="complete", finish_reason="rule", usage=none)
            self._asking.store(replace(ask, answer=answer))
        finally:
            permit.release()
        yield Started(ask.conversation.id, answer.id)
        yield Token(text)
        yield Done(ask.conversation.id, answer.id, text, "rule", none, False)

    def _fit(self, ask: Ask) -> Fitted | EngineFailure:
        """The prompt; or why the engine is not there even to count tokens: an error, but no lost message."""
        try:
            return self._window.fit(ask.format, ask.bot, ask.turns, ask.answer.text, conversation=ask.conversation.id)
        except EngineFailure as failure:
            return failure

    def _generate(self, ask: Ask, place: Place, run: Run, fitted: Fitted | EngineFailure) -> Generator[GenerationEvent]:
        if isinstance(fitted, EngineFailure):
            raise fitted
        prompt = fitted.prompt
        generation = Generation(
            prompt.text, fitted.max_tokens, prompt.stops, PRESETS[ask.bot.sampling], fitted.context_size
        )
        begun = bool(ask.answer.text)
        with closing(self._generations.run(place, generation, trim=True, run=run, begun=begun)) as events:
            for event in events:
                if isinstance(event, Finished):
                    self._window.learn(ask.conversation.id, prompt.text, event.usage.prompt_tokens)
                yield event

    def _answer(self, ask: Ask, run: Run, events: Iterable[GenerationEvent], truncated: bool) -> Generator[AnswerEvent]:
        before = ask.answer.text
        stored_at = time.monotonic()
        finished: Finished | None = None
        try:
            for event in events:
                if isinstance(event, Finished):
                    finished = event
                    continue
                if time.monotonic() - stored_at > _STORE_EVERY_S and run.text:
                    self._keep_part(ask, before + run.text, durable=False)
                    stored_at = time.monotonic()
                yield event
        except BaseException:  # the client leaving is one of these
            self._keep_part(ask, before + run.text)
            raise
        if finished is None:
            raise EngineFailure("the generation ended without an end")
        text = before + run.text
        status: Status = "interrupted" if finished.reason == "cancelled" else "complete"
        answer = replace(ask.answer, text=text, status=status, finish_reason=finished.reason, usage=finished.usage)
        self._history.finish(answer)
        yield Done(ask.conversation.id, answer.id, text, finished.reason, finished.usage, truncated)

    def _keep_part(self, ask: Ask, text: str, *, durable: bool = True) -> None:
        """Store what there is of a broken-off answer. A failure is logged only: the first one is being told already."""
        if not text:
            return
        part: Message = replace(ask.answer, text=text)
        try:
            self._history.finish(part, durable=durable)
        except NotFound:
            pass  # the conversation has been deleted: so is this
        except ChatProxyError as error:
            _log.warning("the interrupted answer %s could not be stored: %s", part.id, error)


def _told(text: str, after: int) -> Generator[Token | Replaced]:
    """What a client that has `after` characters lacks of `text`."""
    if after > len(text):
        yield Replaced(text)
    elif after < len(text):
        yield Token(text[after:])


def _begun(events: Iterator[GenerationEvent]) -> Iterator[GenerationEvent]:
    """The same events, the first one made to happen: the engine is asked, or the place in the queue is known.

    Where that fails, the failure comes out when the events are read.
    """
    try:
        first = next(events)
    except ChatProxyError as failure:
        return _failing(failure)
    return chain([first], events)


def _failing(failure: ChatProxyError) -> Iterator[GenerationEvent]:
    yield from ()  # what makes it a generator, which raises only when it is read
    raise failure


def _truncated(fitted: Fitted | EngineFailure) -> bool:
    return isinstance(fitted, Fitted) and fitted.dropped_turns > 0
