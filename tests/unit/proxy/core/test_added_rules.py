"""Rules made in the console: looked up rarely, known while the store is away, never too many."""

from __future__ import annotations

import pytest

from chatproxy.core.added_rules import MOST_RULES, AddedRules
from chatproxy.core.types import Bot
from chatproxy.errors import InvalidRequest
from tests.unit.proxy.archive import MemoryRules

BOT = Bot("b", "B")


def test_the_store_is_asked_once_in_five_seconds() -> None:
    store, moment = MemoryRules(), [0.0]
    rules, elsewhere = (AddedRules(store, clock=lambda: moment[0]) for _ in range(2))
    assert rules.of(BOT) == ()
    elsewhere.add("b", ["one"], "1", made_by="anna")
    moment[0] = 4.9
    assert rules.of(BOT) == ()
    moment[0] = 5.0
    assert [rule.answer for rule in rules.of(BOT)] == ["1"]
    asked = store.looked_up
    for _ in range(100):
        rules.of(BOT)
    assert store.looked_up == asked


def test_what_is_made_or_removed_here_counts_at_once() -> None:
    rules = AddedRules(MemoryRules(), clock=lambda: 0.0)
    assert rules.of(BOT) == ()
    made = rules.add("", ["one", " one ", "two  words"], "1", made_by="anna")
    assert made.phrases == ("one", "two words")
    assert len(rules.of(BOT)) == 1
    rules.remove(made.id)
    assert rules.of(BOT) == ()


def test_while_the_store_is_away_what_was_known_holds(caplog: pytest.LogCaptureFixture) -> None:
    store, moment = MemoryRules(), [0.0]
    rules = AddedRules(store, clock=lambda: moment[0])
    store.away = True
    assert rules.of(BOT) == ()
    store.away = False
    rules.add("b", ["one"], "1", made_by="anna")
    assert len(rules.of(BOT)) == 1
    store.away, moment[0] = True, 10.0
    assert len(rules.of(BOT)) == 1
    assert "cannot be read" in caplog.text


def test_there_are_only_so_many() -> None:
    rules = AddedRules(MemoryRules())
    for number in range(MOST_RULES):
        rules.add("", [f"phrase {number}"], "x", made_by="anna")
    with pytest.raises(InvalidRequest, match="remove some first"):
        rules.add("", ["one more"], "x", made_by="anna")
