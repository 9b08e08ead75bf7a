"""The archive on a real mongod: words of any language, filters, pages; and rules, which count for a real proxy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_admins import MongoAudit
from chatproxy.adapters.mongo_archive import MongoArchive
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.adapters.mongo_rules import MongoRules
from chatproxy.core.admin_ports import Act
from chatproxy.core.archive import Look
from chatproxy.core.types import Conversation, Feedback, Message, new_id, now
from chatproxy.errors import InvalidRequest, NotFound
from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Client
from tests.integration.proxy.console.conftest import command


class Filled:
    """The history, and the archive over it."""

    def __init__(self, database: Database) -> None:
        self.history, self.archive, self.rules = MongoHistory(database), MongoArchive(database), MongoRules(database)

    def tell(self, asked: str, answered: str = "", *, bot: str = "b", at: datetime | None = None, owner: str = "key:a",
             interrupted: bool = False, rated: Feedback | None = None) -> Conversation:  # fmt: skip
        moment = at or now()
        where = Conversation(new_id(), owner, bot, asked[:80], moment, moment)
        question = Message(new_id(), where.id, "user", asked, moment)
        answer = Message(new_id(), where.id, "assistant", "", moment, "interrupted")
        self.history.begin(where, [question, answer], new=True)
        if not interrupted:
            self.history.finish(replace(answer, text=answered, status="complete", finish_reason="stop"))
        if rated:
            self.history.rate(owner, answer.id, rated)
        return where

    def texts(self, **wanted: object) -> list[str]:
        look = Look(**wanted)  # type: ignore[arg-type]
        return [found.message.text for found in self.archive.messages(look, limit=100, cursor=None).items]


@pytest.fixture
def filled(database: Database) -> Iterator[Filled]:
    with database.opened() as opened:
        for name in ("conversations", "messages", "rules", "audit"):
            opened[name].delete_many({})
    yield Filled(database)


@pytest.mark.parametrize(
    ("said", "asked_for"),
    [
        ("Where is my REFUND?", "refund"),
        ("Where is my refund, please?", "please refund"),
        ("Die Straße ist gesperrt", "straße"),
        ("Un café crème", "cafe creme"),
        ("Wo ist die Rückerstattung", "rückerstattung"),
        ("Где мой заказ?", "заказ"),
        ("أين طلبي الآن", "طلبي"),
        ("我的订单在哪里", "订单"),
        ("注文はどこですか", "どこ"),
        ("คำสั่งซื้อของฉันอยู่ที่ไหน", "ซื้อ"),
        ("내 주문은 어디에", "주문은"),
        ("I like C++ a lot", "c++"),
        ("What about 50% off?", "50%"),
        ("Well 🙂", "🙂"),
        ("the and of is", "the"),  # no stop words
        ("mail to a.b@example.com", "a.b@example.com"),
        ('she said "no way"', '"no way"'),
        ("a -minus word", "-minus"),
    ],
)
def test_words_of_any_language_are_found(filled: Filled, said: str, asked_for: str) -> None:
    filled.tell(said)
    filled.tell("something else altogether, 别的东西")
    assert filled.texts(text=asked_for) == [said]


def test_all_of_the_words_must_be_there(filled: Filled) -> None:
    filled.tell("red lamp")
    filled.tell("blue lamp")
    assert filled.texts(text="lamp") == ["blue lamp", "red lamp"]
    assert filled.texts(text="lamp red") == ["red lamp"]
    assert filled.texts(text="lamp green") == []
    assert filled.texts(text="$where") == filled.texts(text=".*") == []


def test_messages_are_found_by_rating_interruption_bot_and_time(filled: Filled) -> None:
    filled.tell("q1", "good one", rated=Feedback("up"))
    filled.tell("q2", "bad one", rated=Feedback("down", "no"), bot="c")
    filled.tell("q3", interrupted=True)
    filled.tell("q4", "old good one", rated=Feedback("up"), at=now() - timedelta(days=9))
    week = now() - timedelta(days=7)
    assert filled.texts(rating="good") == ["good one", "old good one"]
    assert filled.texts(rating="bad") == ["bad one"]
    assert filled.texts(rating="any") == ["bad one", "good one", "old good one"]
    assert filled.texts(interrupted=True) == [""]
    assert filled.texts(rating="any", bot="c") == ["bad one"]
    assert filled.texts(rating="any", since=week) == ["bad one", "good one"]
    assert filled.texts(rating="any", until=week) == filled.texts(text="one", until=week) == ["old good one"]
    assert filled.texts(text="one", rating="bad") == ["bad one"]
    assert filled.archive.bots() == ["b", "c"]


def test_a_rating_that_is_taken_back_is_found_no_more(filled: Filled) -> None:
    where = filled.tell("q", "a", rated=Feedback("up"))
    answer = filled.history.messages("key:a", where.id, limit=9, cursor=None).items[1]
    filled.history.rate("key:a", answer.id, None)
    assert filled.texts(rating="any") == []


def test_what_was_replaced_is_not_found(filled: Filled) -> None:
    where = filled.tell("first lamp", "lamp answer")
    question = filled.history.messages("key:a", where.id, limit=9, cursor=None).items[0]
    edited = Message(new_id(), where.id, "user", "edited lamp", now())
    answer = Message(new_id(), where.id, "assistant", "", now(), "interrupted")
    filled.history.begin(where, [edited, answer], new=False, instead_of=question.id)
    assert filled.texts(text="lamp") == ["edited lamp"]


def test_many_short_look_ups_end_in_time_too(filled: Filled, database: Database) -> None:
    """A frequent word, of a bot that hardly anybody talks to: each look-up is quick, all of them are not."""
    filled.tell("lamp", bot="rare", at=now() - timedelta(days=9))
    with database.opened() as opened:
        message = opened["messages"].find_one({"text": "lamp"}) or {}
        conversation = opened["conversations"].find_one() or {}
        made = [(new_id(), new_id()) for _ in range(20_000)]
        opened["conversations"].insert_many([{**conversation, "_id": each, "bot": "b"} for each, _ in made])
        opened["messages"].insert_many(
            [{**message, "_id": each, "conversation_id": where, "created_at": now()} for where, each in made]
        )
    look, took_s = Look(text="lamp", bot="rare"), []
    for _ in range(3):
        begun = time.monotonic()
        assert len(filled.archive.messages(look, limit=5, cursor=None).items) == 1
        took_s.append(time.monotonic() - begun)
    # Longer than the search for the word itself, which is less than half of it.
    with pytest.raises(InvalidRequest, match="in too many messages"):
        MongoArchive(database, most_s=min(took_s) * 0.6).messages(look, limit=5, cursor=None)


def test_a_message_is_found_with_the_cursor_of_its_page(filled: Filled) -> None:
    where = filled.tell("q0", "a0")
    for number in range(1, 26):
        turn = [Message(new_id(), where.id, "user", f"q{number}", now())]
        turn.append(Message(new_id(), where.id, "assistant", f"a{number}", now(), "complete", "stop"))
        filled.history.begin(where, turn, new=False)
    for text, begins in (("q0", "q0"), ("a0", "q0"), ("q25", "q25"), ("a25", "q25")):
        (found,) = filled.archive.messages(Look(text=text), limit=9, cursor=None).items
        assert filled.archive.message(where.id, found.message.id) == found
        page = filled.history.messages("key:a", where.id, limit=40, cursor=found.cursor).items
        assert page[0].text == begins and found.message in page
    for wrong in ((where.id, "0" * 32), ("0" * 32, found.message.id), (filled.tell("q").id, found.message.id)):
        with pytest.raises(NotFound):
            filled.archive.message(*wrong)


@pytest.mark.parametrize("wanted", [{"text": "lamp"}, {"text": "订单"}, {"rating": "bad"}, {}])
def test_pages_hold_each_once_also_of_one_moment(filled: Filled, wanted: dict[str, str]) -> None:
    moment = now()
    made = {
        filled.tell(f"lamp 订单 {number}", "a", at=moment - timedelta(seconds=number // 5), rated=Feedback("down")).id
        for number in range(23)
    }
    look, cursor, seen = Look(**wanted), None, []  # type: ignore[arg-type]
    for _ in range(5):
        if look.is_for_messages:
            found = filled.archive.messages(look, limit=5, cursor=cursor)
            seen += [each.conversation.id for each in found.items]
            cursor = found.next_cursor
        else:
            whole = filled.archive.conversations(look, limit=5, cursor=cursor)
            seen += [each.id for each in whole.items]
            cursor = whole.next_cursor
    assert cursor is None
    assert len(seen) == 23 and set(seen) == made
    for bad in ("x", "1-2", "-" + "0" * 32):
        with pytest.raises(InvalidRequest, match="cursor"):
            filled.archive.messages(Look(text="a"), limit=5, cursor=bad)


def test_a_conversation_is_found_whosever_it_is(filled: Filled) -> None:
    where = filled.tell("q", owner="site:site_1/visitor:v")
    assert filled.archive.conversation(where.id).owner == "site:site_1/visitor:v"
    with pytest.raises(NotFound):
        filled.archive.conversation("0" * 32)


def test_acts_come_in_pages_also_of_one_moment(filled: Filled, database: Database) -> None:
    audit, moment = MongoAudit(database), now()
    for number in range(23):
        audit.add(
            Act(moment - timedelta(seconds=number // 5), "anna" if number % 2 else "operator", "", "x", str(number))
        )
    for actor, count in (("", 23), ("anna", 11)):
        found = audit.newest(5, actor=actor)
        seen = [act.subject for act in found.items]
        while found.next_cursor:
            found = audit.newest(5, cursor=found.next_cursor, actor=actor)
            seen += [act.subject for act in found.items]
        assert len(set(seen)) == len(seen) == count
    with pytest.raises(InvalidRequest):
        audit.newest(5, cursor="1-2")


def test_a_rule_made_in_the_console_answers_a_real_question(filled: Filled, appliance: NativeStack) -> None:
    from chatproxy.core.added_rules import AddedRules

    made = AddedRules(filled.rules).add("", ["blue lamp"], "30 euros.", made_by="anna")
    assert [rule.id for rule in filled.rules.all()] == [made.id]
    key = command(appliance, "keys", "create", "--name=t", "--scopes=chat").stdout.strip()
    client, deadline = Client(appliance.proxy_url, key), time.monotonic() + 10
    while True:
        answer = client.chat("How much is the BLUE lamp?", bot="assistant")
        if answer.ok or time.monotonic() > deadline:
            break
    assert answer.json()["answer"] == "30 euros." and answer.json()["finish_reason"] == "rule"
    assert filled.rules.remove(made.id) and not filled.rules.remove(made.id)
