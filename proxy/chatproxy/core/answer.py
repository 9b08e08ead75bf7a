"""The whole flow of one reply, as one generator of events.

    place at the gate -> prompt that fits -> question stored -> turn at the engine -> tokens -> answer stored -> done

The question is on disk before the engine is asked. Whatever ends the reply early (engine, storage, the client
leaving) frees the slot, stops the engine and stores the part of the answer that was there as interrupted.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

from chatproxy.core.generation import Finished, Generations, Queued, Token, Waiting
from chatproxy.core.ports import Bots, History
from chatproxy.core.prompts import Formats, PromptFormat
from chatproxy.core.sampling import PRESETS
from chatproxy.core.slots import Ticket
from chatproxy.core.types import Bot, Caller, Conversation, FinishReason, Generation, Message, Usage, new_id, now
from chatproxy.core.window import Fitted, Window
from chatproxy.errors import ChatProxyError, EngineFailure, InvalidRequest

_log = logging.getLogger(__name__)
_TITLE_LENGTH = 80


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants answered; without a conversation a new one begins, without a bot the default one answers."""

    caller: Caller
    text: str
    conversation_id: str | None = None
    bot: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The question is stored and has a place at the gate; `message_id` is the coming answer's."""

    conversation_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is stored. `context_truncated` tells that older turns no longer fitted the prompt."""

    conversation_id: str
    message_id: str
    answer: str
    finish_reason: FinishReason
    usage: Usage
    context_truncated: bool


AnswerEvent = Started | Queued | Waiting | Token | Done


class Answers:
    """Answers questions."""

    def __init__(
        self,
        generations: Generations,
        window: Window,
        history: History,
        bots: Bots,
        formats: Formats,
        *,
        default_bot: str,
        default_format: str,
    ) -> None:
        self._generations, self._window = generations, window
        self._history, self._bots, self._formats = history, bots, formats
        self._default_bot, self._default_format = default_bot, default_format

    def reply(self, question: Question) -> Generator[AnswerEvent]:
        """Yield Started first and Done last.

        Raises before Started, with nothing stored: NotFound, InvalidRequest, Busy, ContextTooLong,
        StorageUnavailable. Raises later, the question stored: EngineFailure and its kind, StorageUnavailable.
        """
        known = self._known_conversation(question)
        bot = self._bot(question, known)
        with self._generations.enter(question.caller) as ticket:
            conversation = known or _new_conversation(question, bot)
            asked = Message(new_id(), conversation.id, "user", question.text, now())
            past = self._history.recent(question.caller.owner, conversation.id) if known else []
            try:
                fitted = self._window.fit(self._format(bot), bot, [*(m.turn for m in past if m.text), asked.turn])
            except EngineFailure:
                # The engine is not there even to count tokens: an error for the client, but no lost message.
                self._store_question(known, conversation, asked)
                raise
            self._store_question(known, conversation, asked)
            answer_id = new_id()
            yield Started(conversation.id, answer_id)
            yield from self._answer(ticket, conversation, answer_id, bot, fitted)

    def _answer(
        self, ticket: Ticket, conversation: Conversation, answer_id: str, bot: Bot, fitted: Fitted
    ) -> Generator[AnswerEvent]:
        generation = Generation(
            fitted.prompt.text, fitted.max_tokens, fitted.prompt.stops, PRESETS[bot.sampling], fitted.context_size
        )
        parts: list[str] = []
        finished: Finished | None = None
        try:
            with closing(self._generations.run(ticket, generation, trim=True)) as events:
                for event in events:
                    if isinstance(event, Finished):
                        finished = event
                        continue
                    if isinstance(event, Token):
                        parts.append(event.text)
                    yield event
        except GeneratorExit:  # the client has left
            self._keep_part(conversation, answer_id, "".join(parts), "cancelled")
            raise
        except BaseException:
            self._keep_part(conversation, answer_id, "".join(parts), None)
            raise
        if finished is None:
            raise EngineFailure("the generation ended without an end")
        answer = "".join(parts)
        stored = Message(
            answer_id, conversation.id, "assistant", answer, now(), "complete", finished.reason, finished.usage
        )
        self._history.add(conversation.owner, stored)
        truncated = fitted.dropped_turns > 0
        yield Done(conversation.id, answer_id, answer, finished.reason, finished.usage, truncated)

    def _known_conversation(self, question: Question) -> Conversation | None:
        if question.conversation_id is None:
            return None
        return self._history.conversation(question.caller.owner, question.conversation_id)

    def _bot(self, question: Question, known: Conversation | None) -> Bot:
        if known and question.bot not in (None, known.bot):
            raise InvalidRequest(
                f"bot: this conversation belongs to the bot {known.bot!r}; start a new one to change it"
            )
        return self._bots.get(known.bot if known else question.bot or self._default_bot)

    def _format(self, bot: Bot) -> PromptFormat:
        return self._formats.get(self._default_format if bot.format == "auto" else bot.format)

    def _store_question(self, known: Conversation | None, conversation: Conversation, asked: Message) -> None:
        if not known:
            self._history.create(conversation)
        self._history.add(conversation.owner, asked)

    def _keep_part(self, conversation: Conversation, answer_id: str, text: str, reason: FinishReason | None) -> None:
        """Store what there is of a broken-off answer. A failure is logged only: the first one is being told already."""
        if not text:
            return
        part = Message(answer_id, conversation.id, "assistant", text, now(), "interrupted", reason)
        try:
            self._history.add(conversation.owner, part)
        except ChatProxyError as error:
            _log.warning("the interrupted answer %s could not be stored: %s", answer_id, error)


def _new_conversation(question: Question, bot: Bot) -> Conversation:
    first_line = question.text.strip().partition("\n")[0]
    moment = now()
    return Conversation(new_id(), question.caller.owner, bot.id, first_line[:_TITLE_LENGTH], moment, moment)
