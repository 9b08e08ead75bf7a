"""Rules that were made in the console: beside those of the bots' files, and asked before them, newest first.

What is new counts within seconds, for every process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chatproxy.core.rules import has_words
from chatproxy.core.types import Bot, Rule, new_id, now
from chatproxy.errors import InvalidRequest, NotFound, StorageUnavailable

_log = logging.getLogger(__name__)
_LOOKED_UP_EVERY_S = 5.0
# All are compared with every question; a question in ten thousand characters takes a few milliseconds with so many.
MOST_RULES = 200
MOST_PHRASES, LONGEST_PHRASE, LONGEST_ANSWER = 20, 200, 8000


@dataclass(frozen=True, slots=True)
class AddedRule:
    """A rule for one bot, or for all where `bot` is ""; `made_by` is the admin, `message_id` the answer that was wrong.

    See core.types.Rule.
    """

    id: str
    bot: str
    phrases: tuple[str, ...]
    answer: str
    made_by: str
    created_at: datetime
    message_id: str = ""


class RuleStore(Protocol):
    """Rules by their id. Every method raises StorageUnavailable."""

    def add(self, rule: AddedRule) -> None: ...

    def all(self) -> Sequence[AddedRule]:
        """Newest first."""
        ...

    def remove(self, rule_id: str) -> bool:
        """Returns False where there is no such rule."""
        ...


class AddedRules:
    """Makes rules and finds those of a bot. Thread-safe."""

    def __init__(self, store: RuleStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._known: Sequence[AddedRule] = ()
        self._looked_up_at: float | None = None

    def of(self, bot: Bot) -> tuple[Rule, ...]:
        """The bot's rules. Never fails: while the store is away those hold that were known."""
        return tuple(Rule(rule.phrases, rule.answer) for rule in self._present() if rule.bot in ("", bot.id))

    def all(self) -> Sequence[AddedRule]:
        """Newest first, as they are stored. Raises StorageUnavailable."""
        return self._store.all()

    def add(self, bot: str, phrases: Sequence[str], answer: str, *, made_by: str, message_id: str = "") -> AddedRule:
        """Make a rule. Raises InvalidRequest naming the field, StorageUnavailable."""
        phrases = tuple(dict.fromkeys(" ".join(each.split()) for each in phrases if each.strip()))
        answer = answer.strip()
        if not 1 <= len(phrases) <= MOST_PHRASES:
            raise InvalidRequest(f"phrases: must be 1 to {MOST_PHRASES}, one a line")
        for phrase in phrases:
            if len(phrase) > LONGEST_PHRASE or not has_words(phrase):
                raise InvalidRequest(f"phrases: each must have a word, and at most {LONGEST_PHRASE} characters")
        if not 1 <= len(answer) <= LONGEST_ANSWER:
            raise InvalidRequest(f"answer: must have 1 to {LONGEST_ANSWER} characters")
        if len(self._store.all()) >= MOST_RULES:
            raise InvalidRequest(f"phrases: there are {MOST_RULES} rules already; remove some first")
        rule = AddedRule(new_id(), bot, phrases, answer, made_by, now(), message_id)
        self._store.add(rule)
        self._forget()
        return rule

    def remove(self, rule_id: str) -> None:
        """Raises NotFound, StorageUnavailable."""
        if not self._store.remove(rule_id):
            raise NotFound(public="There is no rule with this id.")
        self._forget()

    def _present(self) -> Sequence[AddedRule]:
        with self._lock:
            moment = self._clock()
            if self._looked_up_at is not None and moment - self._looked_up_at < _LOOKED_UP_EVERY_S:
                return self._known
            # The others answer by what is known meanwhile, also while a store that is away is waited for.
            self._looked_up_at = moment
        try:
            known = self._store.all()
        except StorageUnavailable as error:
            _log.warning("rules made in the console cannot be read: %s", error)
            return self._known
        with self._lock:
            self._known = known
        return known

    def _forget(self) -> None:
        with self._lock:
            self._looked_up_at = None
