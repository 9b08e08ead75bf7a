"""Every query of the adapter goes by an index and looks at little more than what it returns, whatever is stored beside.

The long form fills mongod with 1,000,000 messages in 50,000 conversations of 500 owners, the short one with 20,000.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from pymongo import WriteConcern
from pymongo.database import Database as MongoDatabase

from chatproxy.adapters.mongo_documents import conversation_document, message_document
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.core.access import Identity
from chatproxy.core.types import Conversation, Feedback, Message, new_id, now
from scripts.lib.native import NativeStack
from tests.integration.proxy.history.conftest import Client, open_as_root
from tests.integration.proxy.history.profiled import Profiler

MESSAGES_EACH, USERS_EACH = 20, 9
RUNS = 21
TEXT = "What was said, about as long as people write on average when they ask something of a chatbot. "


@dataclass
class Filled:
    """A full database; what a test takes out of it is gone for the others."""

    history: MongoHistory
    database: MongoDatabase[dict[str, Any]]
    holders: list[Identity]
    chosen: random.Random

    def owner(self) -> str:
        """A key's holder or one of its users."""
        holder = self.chosen.choice(self.holders)
        user = self.chosen.randrange(USERS_EACH + 1)
        return holder.owner_of(str(user)) if user else holder.owner

    def conversation(self) -> Conversation:
        page = self.history.conversations(self.owner(), limit=200, cursor=None)
        return self.chosen.choice(page.items)

    def answer(self) -> tuple[Conversation, Message]:
        where = self.conversation()
        page = self.history.messages(where.owner, where.id, limit=MESSAGES_EACH, cursor=None)
        return where, self.chosen.choice([message for message in page.items if message.role == "assistant"])


def _documents(
    holder: Identity, conversations_each: int, chosen: random.Random
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each conversation of a key's holder and of its users, with its messages; half of them expire one day."""
    for user in range(USERS_EACH + 1):
        owner = holder.owner_of(str(user)) if user else holder.owner
        for number in range(conversations_each):
            moment = now() - timedelta(minutes=chosen.randrange(500_000))
            days = 3650 if number % 2 else None
            where = Conversation(new_id(), owner, "assistant", "Title", moment, moment, days)
            said = [
                Message(new_id(), where.id, "assistant" if place % 2 else "user", TEXT, moment)
                for place in range(MESSAGES_EACH)
            ]
            documents = [message_document(message, place, days) for place, message in enumerate(said)]
            yield conversation_document(where, MESSAGES_EACH), documents


# Keys, and conversations of each key's holder and of each of its users.
SMALL, LARGE = (10, 10), (50, 100)


@pytest.fixture(scope="module", params=[SMALL, pytest.param(LARGE, marks=pytest.mark.long)], ids=["20k", "million"])
def filled(request: pytest.FixtureRequest, server: NativeStack, root: Client) -> Iterator[Filled]:
    chosen = random.Random(11)
    keys, conversations_each = request.param
    total = keys * (USERS_EACH + 1) * conversations_each * MESSAGES_EACH
    name = f"scale_{total}"
    history = MongoHistory(open_as_root(server, name))
    history.conversations("key:a", limit=1, cursor=None)  # makes the indexes
    database = root[name]
    loose = WriteConcern(w=1, j=False)
    conversations = database["conversations"].with_options(write_concern=loose)
    messages = database["messages"].with_options(write_concern=loose)
    holders = [Identity(new_id()[:12], "", frozenset()) for _ in range(keys)]
    begun = time.monotonic()
    for holder in holders:
        made = list(_documents(holder, conversations_each, chosen))
        conversations.insert_many([conversation for conversation, _ in made], ordered=False)
        messages.insert_many([message for _, said in made for message in said], ordered=False)
    assert messages.estimated_document_count() == total
    print(f"\n{total:,} messages stored in {time.monotonic() - begun:.0f} s")
    yield Filled(history, database, holders, chosen)
    root.drop_database(name)


def _list(filled: Filled) -> Callable[[], object]:
    owner = filled.owner()
    return lambda: filled.history.conversations(owner, limit=50, cursor=None)


def _next_page(filled: Filled) -> Callable[[], object]:
    owner = filled.owner()
    cursor = filled.history.conversations(owner, limit=5, cursor=None).next_cursor
    return lambda: filled.history.conversations(owner, limit=20, cursor=cursor)


def _read(filled: Filled) -> Callable[[], object]:
    where = filled.conversation()
    return lambda: filled.history.messages(where.owner, where.id, limit=50, cursor=None)


def _read_on(filled: Filled) -> Callable[[], object]:
    where = filled.conversation()
    cursor = filled.history.messages(where.owner, where.id, limit=10, cursor=None).next_cursor
    return lambda: filled.history.messages(where.owner, where.id, limit=5, cursor=cursor)


def _recent(filled: Filled) -> Callable[[], object]:
    where = filled.conversation()
    return lambda: filled.history.past(where.owner, where.id)


def _recent_before(filled: Filled) -> Callable[[], object]:
    where, answer = filled.answer()
    return lambda: filled.history.past(where.owner, where.id, before=answer.id)


def _read_edited(filled: Filled) -> Callable[[], object]:
    """A conversation in which answers were made anew, one of them often."""
    where, answer = filled.answer()
    for _ in range(20):
        again = replace(answer, id=new_id())
        filled.history.begin(where, [again], new=False, instead_of=answer.id)
        answer = again
    for _ in range(5):
        question, answer = _pair(where)
        filled.history.begin(where, [question, answer], new=False)
        filled.history.begin(where, [replace(answer, id=new_id())], new=False, instead_of=answer.id)
    return lambda: (
        filled.history.messages(where.owner, where.id, limit=50, cursor=None),
        filled.history.past(where.owner, where.id).messages,
    )


def _message(filled: Filled) -> Callable[[], object]:
    where, answer = filled.answer()
    return lambda: filled.history.message(where.owner, answer.id)


def _pair(where: Conversation) -> tuple[Message, Message]:
    question = Message(new_id(), where.id, "user", TEXT, now())
    return question, Message(new_id(), where.id, "assistant", "", now(), "interrupted")


def _begin(filled: Filled) -> Callable[[], object]:
    where = filled.conversation()
    return lambda: filled.history.begin(where, _pair(where), new=False)


def _begin_new(filled: Filled) -> Callable[[], object]:
    where = Conversation(new_id(), filled.owner(), "assistant", "Title", now(), now())
    return lambda: filled.history.begin(where, _pair(where), new=True)


def _edit(filled: Filled) -> Callable[[], object]:
    where, answer = filled.answer()
    return lambda: filled.history.begin(where, _pair(where), new=False, instead_of=answer.id)


def _finish(filled: Filled) -> Callable[[], object]:
    _, answer = filled.answer()
    return lambda: filled.history.finish(replace(answer, text=TEXT * 2))


def _checkpoint(filled: Filled) -> Callable[[], object]:
    _, answer = filled.answer()
    return lambda: filled.history.finish(replace(answer, text=TEXT * 2), durable=False)


def _rate(filled: Filled) -> Callable[[], object]:
    where, answer = filled.answer()
    return lambda: filled.history.rate(where.owner, answer.id, Feedback("up"))


def _rename(filled: Filled) -> Callable[[], object]:
    where = filled.conversation()
    return lambda: filled.history.rename(where.owner, where.id, "New")


def _delete(filled: Filled) -> Callable[[], object]:
    where = filled.conversation()
    return lambda: filled.history.delete(where.owner, where.id)


def _measure(filled: Filled, prepare: Callable[[Filled], Callable[[], object]], runs: int) -> None:
    spent = []
    for _ in range(runs):
        action = prepare(filled)
        begun = time.perf_counter()
        action()
        spent.append(time.perf_counter() - begun)
    action = prepare(filled)
    with Profiler(filled.database) as profiler:
        action()
    commands = profiler.commands()
    for command in commands:
        command.assert_frugal()
    cost = ", ".join(f"{c.keys} keys {c.documents} docs for {c.found}" for c in commands)
    print(f"{prepare.__name__[1:]:14} median {statistics.median(spent) * 1000:8.2f} ms   {cost}")


@pytest.mark.parametrize(
    "prepare",
    [
        *(_list, _next_page, _read, _read_on, _recent, _recent_before, _read_edited, _message),
        *(_begin, _begin_new, _edit, _finish, _checkpoint, _rate, _rename, _delete),
    ],
    ids=lambda prepare: prepare.__name__[1:],
)
def test_it_goes_by_an_index(
    filled: Filled, prepare: Callable[[Filled], Callable[[], object]], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        _measure(filled, prepare, RUNS)


def _delete_user(filled: Filled) -> Callable[[], object]:
    owner = filled.owner()
    return lambda: filled.history.delete_all(owner)


def _delete_all_users(filled: Filled) -> Callable[[], object]:
    holder = filled.holders.pop()
    return lambda: filled.history.delete_all(holder.owner, users=True)


@pytest.mark.parametrize("prepare", [_delete_user, _delete_all_users], ids=lambda prepare: prepare.__name__[1:])
def test_deleting_many_goes_by_an_index(
    filled: Filled, prepare: Callable[[Filled], Callable[[], object]], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        _measure(filled, prepare, 3)
