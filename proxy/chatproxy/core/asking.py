"""From a question to everything that is needed to answer it: bot, conversation, turns, the answer's empty place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chatproxy.core import offered
from chatproxy.core.access import Caller
from chatproxy.core.passages import Passage
from chatproxy.core.ports import Bots, History
from chatproxy.core.prompts import Formats, PromptFormat
from chatproxy.core.rules import answer_by_rule
from chatproxy.core.types import Bot, Conversation, Image, Message, Past, Rule, Turn, id_from, new_id, now
from chatproxy.errors import InvalidRequest, NotFound

_TITLE_LENGTH = 80


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants answered; without a conversation a new one begins, without a bot the default one answers.

    `instead_of` is the id of an earlier message: of a question, which this one replaces with all that followed it; or
    of an answer, to be given anew (`text` is empty then). What comes again with the same `key`, from a client that does
    not know whether it arrived, is the same question.
    """

    caller: Caller
    text: str
    conversation_id: str | None = None
    bot: str | None = None
    instead_of: str | None = None
    key: str | None = None
    images: tuple[Image, ...] = ()

    @property
    def answer_id(self) -> str:
        """The coming answer's id: for the same owner and key always the same."""
        return self.id_for("answer")

    def id_for(self, what: str) -> str:
        return id_from(self.caller.owner, self.key, what) if self.key else new_id()


@dataclass(frozen=True, slots=True)
class Ask:
    """A question that can be answered. `turns` end with it; `rule` is a fixed answer that the bot has for it,
    `passages` what the owner's documents say about it, best first (see core.grounding)."""

    caller: Caller
    bot: Bot
    format: PromptFormat
    conversation: Conversation
    turns: Sequence[Turn]
    asked: Message | None  # None where it is stored already
    answer: Message
    is_new: bool = False
    instead_of: str | None = None
    rule: str | None = None
    passages: Sequence[Passage] = ()


class Asking:
    """Looks up and stores what belongs to a question."""

    def __init__(
        self,
        history: History,
        bots: Bots,
        formats: Formats,
        *,
        default_bot: str,
        added: Callable[[Bot], tuple[Rule, ...]] = lambda _: (),
    ) -> None:
        """`added` are a bot's rules beside those of its file; they come first."""
        self._history, self._bots, self._formats, self._added = history, bots, formats, added
        self._default_bot = default_bot

    def of(self, question: Question) -> Ask:
        """Stores nothing. Raises NotFound, InvalidRequest, StorageUnavailable."""
        if question.instead_of:
            old = self._replaceable(question, question.instead_of)
            if old.role == "assistant":
                return self._regenerated(question, old)
            question = replace(question, conversation_id=old.conversation_id)
        known = self._known(question)
        bot = self._bot(question, known)
        visit = question.caller.visit
        most = visit.longest_message(bot) if visit else bot.max_message
        if most and len(question.text) > most:
            raise InvalidRequest(f"message: has {len(question.text)} characters, this bot takes at most {most}")
        conversation = (
            replace(known.conversation, retention_days=bot.retention_days) if known else _begun(question, bot)
        )
        asked = _asked(question, conversation.id)
        past = known.turns if known else []
        return Ask(
            question.caller,
            bot,
            self._formats.get(bot.format),
            conversation,
            [*past, asked.turn],
            asked,
            _place(question.answer_id, conversation.id),
            is_new=known is None,
            instead_of=question.instead_of,
            rule=answer_by_rule((*self._added(bot), *bot.rules), question.text),
        )

    def again(self, caller: Caller, message_id: str) -> Ask:
        """An answer that may have been interrupted, with what was asked. Raises NotFound."""
        answer = self._history.message(caller.owner, message_id)
        if answer.role != "assistant":
            raise NotFound(f"{message_id} is a question", public="There is no answer with this id.")
        past = self._history.past(caller.owner, answer.conversation_id, before=answer.id)
        conversation, turns = past.conversation, past.turns
        bot = offered.check(self._bots.get(conversation.bot), caller.visit)
        if answer.finish_reason is None and (not turns or turns[-1].role != "user"):
            raise NotFound(f"{message_id} has been replaced", public="This answer's question has been replaced.")
        return Ask(caller, bot, self._formats.get(bot.format), conversation, turns, None, answer)

    def store(self, ask: Ask) -> None:
        """Put question and answer side by side. Raises StorageUnavailable, NotFound."""
        messages = [ask.asked, ask.answer] if ask.asked else [ask.answer]
        self._history.begin(ask.conversation, messages, new=ask.is_new, instead_of=ask.instead_of)

    def _regenerated(self, question: Question, old: Message) -> Ask:
        ask = self.again(question.caller, old.id)
        if not ask.turns or ask.turns[-1].role != "user":
            raise InvalidRequest("This answer has no question any more: ask it again.")
        conversation = replace(ask.conversation, retention_days=ask.bot.retention_days)
        return replace(
            ask, conversation=conversation, answer=_place(question.answer_id, conversation.id), instead_of=old.id
        )

    def _replaceable(self, question: Question, message_id: str) -> Message:
        """A question for a new text, an answer for none."""
        old = self._history.message(question.caller.owner, message_id)
        role, what = ("user", "question") if question.text else ("assistant", "answer")
        if old.role != role or question.conversation_id not in (None, old.conversation_id):
            raise NotFound(f"{old.id} is not that", public=f"There is no {what} with this id in this conversation.")
        return old

    def _known(self, question: Question) -> Past | None:
        if question.conversation_id is None:
            return None
        return self._history.past(question.caller.owner, question.conversation_id, before=question.instead_of)

    def _bot(self, question: Question, known: Past | None) -> Bot:
        its_bot = known.conversation.bot if known else None
        if known and question.bot not in (None, its_bot):
            raise InvalidRequest(f"bot: this conversation belongs to the bot {its_bot!r}; start a new one to change it")
        return offered.chosen(self._bots, its_bot or question.bot, self._default_bot, question.caller.visit)


def _begun(question: Question, bot: Bot) -> Conversation:
    first_line = question.text.strip().partition("\n")[0]
    conversation_id, moment = question.id_for("conversation"), now()
    return Conversation(
        conversation_id, question.caller.owner, bot.id, first_line[:_TITLE_LENGTH], moment, moment, bot.retention_days
    )


def _asked(question: Question, conversation_id: str) -> Message:
    message_id = question.id_for("question")
    images = tuple(replace(image, id=f"{message_id}-{number}") for number, image in enumerate(question.images, start=1))
    return Message(message_id, conversation_id, "user", question.text, now(), images=images)


def _place(message_id: str, conversation_id: str) -> Message:
    """An answer that is yet to come."""
    return Message(message_id, conversation_id, "assistant", "", now(), "interrupted")
