"""The whole flow of one reply, as one generator of events.

    rule? -> permit -> passages -> place at gate -> prompt -> engine asked -> question stored -> tokens -> stored

The question is on disk, with its answer's empty place beside it, before the client hears anything; the engine reads the
prompt meanwhile, or the request waits in the queue. Whatever ends the reply early (engine, storage, the client leaving,
a crash) frees the slot, stops the engine and leaves the part of the answer that was there as interrupted; `resume` goes
on from it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from itertools import chain

from chatproxy.core.access import Caller
from chatproxy.core.asking import Ask, Asking, Question
from chatproxy.core.generation import Finished, GenerationEvent, Generations, Place, Queued, Token, Waiting
from chatproxy.core.grounding import Grounding
from chatproxy.core.images import check_unpacked
from chatproxy.core.limits import Permit
from chatproxy.core.ports import History
from chatproxy.core.running import Run, Running
from chatproxy.core.rush import Rush
from chatproxy.core.sampling import PRESETS
from chatproxy.core.types import FinishReason, Generation, Image, Message, Source, Status, Usage
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
class Sources:
    """What the answer rests on, told before its first token."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is stored. `context_truncated` tells that older turns no longer fitted the prompt."""

    conversation_id: str
    message_id: str
    answer: str
    finish_reason: FinishReason
    usage: Usage
    context_truncated: bool
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The prompt could only be made when the request's turn had come: what else follows from it."""

    sources: tuple[Source, ...]
    truncated: bool


_Event = GenerationEvent | _Fitted
AnswerEvent = Started | Queued | Waiting | Sources | Token | Replaced | Done


class Answers:
    """Answers questions."""

    def __init__(
        self,
        asking: Asking,
        grounding: Grounding,
        generations: Generations,
        window: Window,
        history: History,
        running: Running,
    ) -> None:
        self._asking, self._grounding = asking, grounding
        self._generations, self._window = generations, window
        self._history, self._running = history, running
        self._rush = Rush()

    def reply(self, question: Question) -> Generator[AnswerEvent]:
        """Yield Started first and Done last.

        Raises before Started, with nothing stored: NotFound, InvalidRequest, RateLimited, Busy, ContextTooLong,
        StorageUnavailable. Raises later, the question stored: EngineFailure and its kind, StorageUnavailable,
        Unavailable. A question that has come before (see Question.key) goes on with its answer, as `resume` does.
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
                permit = held.enter_context(self._generations.permit(ask.caller))
                self._check_images(question.images)
                ask = self._grounding.look_up(ask)
                if ask.rule is None:
                    place = held.enter_context(self._enter(ask, permit))
                    if not question.key:
                        run = held.enter_context(self._running.track(ask.caller.owner, ask.answer.id))
                    ask, fitted = self._fit(ask)
                    generation = held.enter_context(closing(self._generate(ask, place, run, fitted)))
                    events = _begun(generation)
                    self._asking.store(ask)
            if ask.rule is not None:
                yield from self._by_rule(ask, ask.rule, permit)
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

    def _check_images(self, images: Sequence[Image]) -> None:
        """Also for an answer that needs no model: nobody is to fill the store with what no model will look at."""
        with suppress(EngineFailure):
            self._window.check_images(images)
        check_unpacked(images)

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
            done = (ask.conversation.id, stored.id, stored.text, stored.finish_reason, usage, False, stored.sources)
            yield Done(*done)
            return
        # Whoever lost the line has not asked anew.
        with self._generations.permit(ask.caller, again=True) as permit:
            ask = self._grounding.look_up(ask)
            if ask.rule is not None:  # what it rested on has been taken away meanwhile
                yield from self._by_rule(ask, ask.rule, permit, again=True)
                return
            with self._enter(ask, permit) as place:
                ask, fitted = self._fit(ask)
                yield Started(ask.conversation.id, stored.id)
                yield from _told(stored.text, after)
                with closing(self._generate(ask, place, run, fitted)) as events:
                    yield from self._answer(ask, run, events, _truncated(fitted))

    def _enter(self, ask: Ask, permit: Permit) -> Place:
        return self._generations.enter(ask.caller, ask.conversation.id, permit=permit, bot=ask.bot.id)

    def _by_rule(self, ask: Ask, text: str, permit: Permit, *, again: bool = False) -> Generator[AnswerEvent]:
        """Say `text` without the engine; `again` where the question is stored, and a part of its answer may be told."""
        with permit:  # nothing is limited any more while the client reads
            none = Usage(0, 0)
            answer = replace(ask.answer, text=text, status="complete", finish_reason="rule", usage=none, sources=())
            if again:
                self._history.finish(answer)
            else:
                self._asking.store(replace(ask, answer=answer))
        self._generations.by_rule(ask.bot.id)
        yield Started(ask.conversation.id, answer.id)
        yield Replaced(text) if again else Token(text)
        yield Done(ask.conversation.id, answer.id, text, "rule", none, False)

    def _fit(self, ask: Ask) -> tuple[Ask, Fitted | EngineFailure]:
        """The question with its answer's sources, and the prompt; or why the engine is not there even to count tokens:
        an error, but no lost message."""
        try:
            fitted, sources = self._grounding.fit(ask)
        except EngineFailure as failure:
            return ask, failure
        return replace(ask, answer=replace(ask.answer, sources=sources)), self._with_data(ask, fitted)

    def _with_data(self, ask: Ask, fitted: Fitted) -> Fitted:
        """The images of earlier turns that stay in the prompt are read now that it is known which."""
        images = fitted.prompt.images
        missing = [image.id for image in images if not image.data]
        if not missing:
            return fitted
        known = {each.id: each for each in self._history.images(ask.caller.owner, ask.conversation.id, missing)}
        whole = tuple(image if image.data else known.get(image.id, image) for image in images)
        if not all(image.data for image in whole):
            raise InvalidRequest("images: one of this conversation's is no longer there; begin a new conversation")
        return replace(fitted, prompt=replace(fitted.prompt, images=whole))

    def _generate(self, ask: Ask, place: Place, run: Run, fitted: Fitted | EngineFailure) -> Generator[_Event]:
        if isinstance(fitted, EngineFailure) and self._generations.held:
            # Nobody can count tokens while the engine is being exchanged: the prompt is made when the turn has come.
            yield from self._generations.turn(place, run)
            if run.cancelled:
                yield Finished("cancelled", Usage(None, None))
                return
            ask, fitted = self._fit(ask)
            yield _Fitted(ask.answer.sources, _truncated(fitted))
        if isinstance(fitted, EngineFailure):
            raise fitted
        prompt = fitted.prompt
        generation = Generation(
            prompt.text, fitted.max_tokens, prompt.stops, PRESETS[ask.bot.sampling], fitted.context_size, prompt.images
        )
        begun = bool(ask.answer.text)
        with closing(self._generations.run(place, generation, trim=True, run=run, begun=begun)) as events:
            for event in events:
                if isinstance(event, Finished) and not prompt.images:  # what they take is no matter of text
                    self._window.learn(ask.conversation.id, prompt.text, event.usage.prompt_tokens)
                yield event

    def _answer(self, ask: Ask, run: Run, events: Iterable[_Event], truncated: bool) -> Generator[AnswerEvent]:
        if ask.answer.sources:
            yield Sources(ask.answer.sources)
        before = ask.answer.text
        stored_at = time.monotonic()
        finished: Finished | None = None
        try:
            for event in events:
                if isinstance(event, Finished):
                    finished = event
                    continue
                if isinstance(event, _Fitted):
                    ask = replace(ask, answer=replace(ask.answer, sources=event.sources))
                    truncated = event.truncated
                    if event.sources:
                        yield Sources(event.sources)
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
        done = (ask.conversation.id, answer.id, text, finished.reason, finished.usage, truncated, answer.sources)
        yield Done(*done)

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


def _begun(events: Iterator[_Event]) -> Iterator[_Event]:
    """The same events, the first one made to happen: the engine is asked, or the place in the queue is known.

    Where that fails, the failure comes out when the events are read.
    """
    try:
        first = next(events)
    except ChatProxyError as failure:
        return _failing(failure)
    return chain([first], events)


def _failing(failure: ChatProxyError) -> Iterator[_Event]:
    yield from ()  # what makes it a generator, which raises only when it is read
    raise failure


def _truncated(fitted: Fitted | EngineFailure) -> bool:
    return isinstance(fitted, Fitted) and fitted.truncated
