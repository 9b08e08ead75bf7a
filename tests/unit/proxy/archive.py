"""The owner's look at a MemoryHistory, and rules in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from chatproxy.core.added_rules import AddedRule
from chatproxy.core.archive import Found, Look
from chatproxy.core.types import Conversation, Message, Page
from chatproxy.errors import InvalidRequest, NotFound, StorageUnavailable
from tests.unit.proxy.memory import MemoryHistory

T = TypeVar("T")
_RATINGS = {"good": ("up",), "bad": ("down",), "any": ("up", "down")}


class MemoryArchive:
    """Implements Archive over a MemoryHistory."""

    def __init__(self, history: MemoryHistory) -> None:
        self.history = history

    def conversations(self, look: Look, *, limit: int, cursor: str | None) -> Page[Conversation]:
        kept = [
            each
            for each in self.history.conversations_by_id.values()
            if look.bot in ("", each.bot)
            and (not look.since or each.updated_at >= look.since)
            and (not look.until or each.updated_at < look.until)
        ]
        return _page(sorted(kept, key=lambda each: (each.updated_at, each.id), reverse=True), limit, cursor)

    def messages(self, look: Look, *, limit: int, cursor: str | None) -> Page[Found]:
        kept = []
        for message in self.history.all_messages:
            where = self.history.conversations_by_id[message.conversation_id]
            rating = message.feedback.rating if message.feedback else ""
            wanted = (
                look.bot in ("", where.bot)
                and all(word.casefold() in message.text.casefold() for word in look.words)
                and (not look.rating or rating in _RATINGS[look.rating])
                and (not look.interrupted or message.status == "interrupted")
                and (not look.since or message.created_at >= look.since)
                and (not look.until or message.created_at < look.until)
            )
            if wanted:
                kept.append(self._found(where, message))
        kept.sort(key=lambda each: (each.message.created_at, each.message.id), reverse=True)
        return _page(kept, limit, cursor)

    def conversation(self, conversation_id: str) -> Conversation:
        try:
            return self.history.conversations_by_id[conversation_id]
        except KeyError:
            raise NotFound(public="There is no conversation with this id.") from None

    def message(self, conversation_id: str, message_id: str) -> Found:
        where = self.conversation(conversation_id)
        message = self.history.message(where.owner, message_id)
        if message.conversation_id != where.id:
            raise NotFound(public="There is no message with this id.")
        return self._found(where, message)

    def _found(self, where: Conversation, message: Message) -> Found:
        """MemoryHistory's cursors count what is shown."""
        before = len(self.history.past(where.owner, where.id, before=message.id).messages)
        return Found(where, message, str(max(0, before - (message.role == "assistant"))))

    def bots(self) -> Sequence[str]:
        return sorted({each.bot for each in self.history.conversations_by_id.values()})


class MemoryRules:
    """Implements RuleStore; `looked_up` counts, while it is `away` nothing works."""

    def __init__(self) -> None:
        self.rules: list[AddedRule] = []
        self.looked_up = 0
        self.away = False

    def add(self, rule: AddedRule) -> None:
        self.rules.insert(0, rule)

    def all(self) -> Sequence[AddedRule]:
        self.looked_up += 1
        if self.away:
            raise StorageUnavailable("away")
        return list(self.rules)

    def remove(self, rule_id: str) -> bool:
        before = len(self.rules)
        self.rules = [rule for rule in self.rules if rule.id != rule_id]
        return len(self.rules) < before


def _page(items: Sequence[T], limit: int, cursor: str | None) -> Page[T]:
    if cursor is not None and not cursor.isdecimal():
        raise InvalidRequest("cursor: not one that this list has given out")
    begin = int(cursor or 0)
    return Page(items[begin : begin + limit], str(begin + limit) if begin + limit < len(items) else None)
