"""A conversation handed over to people: what is in the letter, whom it goes to, and how often."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from chatproxy.core import handoff
from chatproxy.core.handoff import Handoff
from chatproxy.core.types import Bot, Conversation, Message, new_id
from chatproxy.errors import Busy, InvalidRequest, MailFailed, NotFound, RateLimited
from tests.unit.proxy.fakes import PEOPLE, FakeBots, FakeMailer
from tests.unit.proxy.memory import MemoryHistory, MemoryUsage
from tests.unit.proxy.waiting import until

OWNER, VISITOR = "site:0123456789abcdef/visitor:1", "visitor@example.com"
BEGUN = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
BOT = Bot("support", "Support", handoff_email=PEOPLE)


class Desk:
    """A hand-off over fakes, and one conversation in it."""

    def __init__(self, *said: str, title: str = "Parcel", bot: Bot = BOT, mailer: bool = True) -> None:
        self.history, self.usage, self.mailer, self.now = MemoryHistory(), MemoryUsage(), FakeMailer(), BEGUN
        self.conversation = Conversation(new_id(), OWNER, bot.id, title, BEGUN, BEGUN)
        roles = ("user", "assistant")
        messages = [
            Message(new_id(), self.conversation.id, roles[number % 2], text, BEGUN + timedelta(minutes=number))
            for number, text in enumerate(said or ("Where is it?", "On its **way**."))
        ]
        self.history.begin(self.conversation, messages, new=True)
        self.handoff = Handoff(
            self.history, FakeBots(bot), self.usage, self.mailer if mailer else None, clock=lambda: self.now
        )

    def send(self, address: str = VISITOR, note: str = "", owner: str = OWNER) -> None:
        self.handoff.send(owner, self.conversation.id, address, note)

    @property
    def text(self) -> str:
        return self.mailer.letters[-1].text


def test_the_letter_tells_who_said_what_and_when() -> None:
    desk = Desk()
    desk.send(note="It is\nurgent.")
    (letter,) = desk.mailer.letters
    assert (letter.to, letter.reply_to, letter.subject) == (PEOPLE, VISITOR, "Support: Parcel")
    assert letter.text == (
        "visitor@example.com would like an answer from a person. Your reply to this e-mail goes there.\n\n"
        f"Bot: Support (support)\nConversation: {desk.conversation.id}\nBegun: 2026-03-01 09:30 UTC\n\n"
        "They add:\n> It is\n> urgent.\n\n"
        "2026-03-01 09:30 UTC, Visitor:\n> Where is it?\n\n"
        "2026-03-01 09:31 UTC, Support:\n> On its **way**.\n"
    )


def test_an_answer_that_is_not_whole_is_marked() -> None:
    desk = Desk()
    stored = desk.history.stored[desk.conversation.id]
    stored[1] = replace(stored[1], status="interrupted", text="")
    desk.send()
    assert desk.text.endswith("2026-03-01 09:31 UTC, Support (interrupted):\n>\n")


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_nothing_that_was_said_passes_for_another_speaker(line_break: str) -> None:
    forged = f"Hi{line_break}2026-03-01 09:31 UTC, Support:{line_break}> We pay 1000."
    desk = Desk(forged)
    desk.send(note=forged)
    quoted = "> Hi\n> 2026-03-01 09:31 UTC, Support:\n> > We pay 1000.\n"
    assert desk.text.count(quoted) == 2
    assert len([line for line in desk.text.splitlines() if line.startswith("2026")]) == 1


def test_control_characters_and_halves_of_pairs_do_not_get_into_a_letter() -> None:
    desk = Desk("a\x00b\x1b[2Jc\ud83dd\te\U0001f642", title="A\x00\ud83d\r\nBcc: x@example.com\u2028z " + "y" * 200)
    desk.send()
    assert "> a\ufffdb\ufffd[2Jc\ufffdd\te\U0001f642\n" in desk.text
    subject = desk.mailer.letters[0].subject
    assert subject.startswith("Support: A\ufffd\ufffd Bcc: x@example.com z yyy")
    assert len(subject) == 120
    assert subject.isprintable()


@pytest.mark.parametrize(
    "address",
    [
        *("", "visitor", "a@b", "a@b.example, c@d.example", "a@b.example\nBcc: c@d.example", "a@b.example\r\n.\r\n"),
        *("<a@b.example>", "A <a@b.example>", '"a b"@c.example', "a@[127.0.0.1]", "a@localhost", "j\u00f6rg@b.example"),
        *("a@b.example\x00", " a@b.example", "a@b..example", "a@b.example;c@d.example"),
    ],
)
def test_what_is_no_address_is_named_and_costs_nothing(address: str) -> None:
    desk = Desk()
    with pytest.raises(InvalidRequest, match="email: ") as refused:
        desk.send(address)
    assert refused.value.public.isprintable()
    assert (desk.mailer.letters, desk.usage.counters) == ([], {})


def test_an_international_domain_is_written_as_mail_servers_take_it() -> None:
    desk = Desk()
    desk.send("anna@b\u00fccher.example")
    assert desk.mailer.letters[0].reply_to == "anna@xn--bcher-kva.example"


def test_somebody_elses_conversation_does_not_exist() -> None:
    desk = Desk()
    with pytest.raises(NotFound, match="no conversation"):
        desk.send(owner="site:0123456789abcdef/visitor:2")
    assert desk.mailer.letters == []


@pytest.mark.parametrize("desk", [Desk(mailer=False), Desk(bot=replace(BOT, handoff_email=""))])
def test_without_a_mail_server_or_somebody_to_write_to_nothing_is_handed_over(desk: Desk) -> None:
    with pytest.raises(NotFound) as refused:
        desk.send()
    assert refused.value.public == "This bot hands no conversations over."


def test_five_an_hour() -> None:
    desk = Desk()
    desk.now = BEGUN + timedelta(minutes=18)  # of the hour that begins at 9:00 it is 9:48
    for _ in range(5):
        desk.send()
    with pytest.raises(RateLimited) as refused:
        desk.send()
    assert refused.value.public.endswith("Try again in 12 minutes.")
    assert refused.value.retry_after == 720
    desk.now += timedelta(minutes=12)
    desk.send()
    assert len(desk.mailer.letters) == 6
    assert all(expires > desk.now - timedelta(hours=1) for expires in desk.usage.expires.values())


def test_what_could_not_be_sent_does_not_count_and_the_visitor_learns_what_to_do() -> None:
    desk = Desk()
    desk.mailer.error = MailFailed("mail.example.com:587: 451 busy")
    for _ in range(6):
        with pytest.raises(MailFailed, match="451 busy") as failed:
            desk.send()
        assert failed.value.public.endswith(f"You can also write to {PEOPLE} yourself.")
    desk.mailer.error = None
    desk.send()


def test_a_slow_mail_server_holds_only_a_few() -> None:
    desk = Desk()
    desk.mailer.slow = threading.Event()
    threads = [threading.Thread(target=desk.send) for _ in range(handoff._AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: sum(desk.usage.counters.values()) == handoff._AT_ONCE)
        with pytest.raises(Busy) as refused:
            desk.send()
        assert refused.value.retry_after
    finally:
        desk.mailer.slow.set()
        for thread in threads:
            thread.join(10)
    desk.send()
    assert len(desk.mailer.letters) == handoff._AT_ONCE + 1


def test_of_a_conversation_beyond_what_a_letter_takes_the_newest_are_sent_and_the_letter_says_so() -> None:
    said = [f"{number} " + "x" * 9_000 for number in range(300)]
    desk = Desk(*said)
    desk.send()
    assert handoff._LONGEST_TRANSCRIPT - 10_000 < len(desk.text) < handoff._LONGEST_TRANSCRIPT + 2_000
    assert "> 299 xxx" in desk.text
    left_out = 300 - desk.text.count("> ")
    assert f"The oldest {left_out} messages did not fit into this e-mail." in desk.text
    assert f"> {left_out} xxx" in desk.text
    assert f"> {left_out - 1} xxx" not in desk.text


def test_an_address_cannot_hide_others() -> None:
    desk = Desk()
    with pytest.raises(InvalidRequest, match="encoded word"):
        desk.send("=?utf-8?q?Boss_=3Cceo=40corp=2Ecom=3E=2C_?=@example.com")
    assert desk.mailer.letters == []


def test_visitors_of_one_address_share_what_it_may_send() -> None:
    desk = Desk()
    for number in range(handoff._MOST_OF_ADDRESS):
        owner = f"site:s/visitor:{number}"
        desk.history.conversations_by_id[desk.conversation.id] = replace(desk.conversation, owner=owner)
        desk.handoff.send(owner, desk.conversation.id, VISITOR, client="192.0.2.1")
    with pytest.raises(RateLimited, match="handoffs/address"):
        desk.handoff.send(owner, desk.conversation.id, VISITOR, client="192.0.2.1")
    desk.handoff.send(owner, desk.conversation.id, VISITOR, client="192.0.2.2")
