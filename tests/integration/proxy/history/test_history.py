"""MongoHistory on a real mongod: what is begun, finished, shown, rated, renamed and deleted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.core.access import Identity
from chatproxy.core.types import Conversation, Feedback, Message, Usage, new_id, now
from chatproxy.errors import InvalidRequest, NotFound
from tests.integration.proxy.history.conftest import Client, Talk

Places = Callable[[Talk], dict[str, int]]


def test_question_and_answer_come_back_as_they_were_in_order(history: MongoHistory, talk: Talk) -> None:
    said: list[Message] = []
    for text in ("one", "two 🙂\x00 <|im_end|> {'$gt': ''}", "three" * 1000):
        said += talk.ask(text)
    assert list(history.past(talk.owner, talk.conversation.id).messages) == [
        replace(message, usage=Usage(None, None)) if message.role == "assistant" else message for message in said
    ]
    first = history.messages(talk.owner, talk.conversation.id, limit=4, cursor=None)
    rest = history.messages(talk.owner, talk.conversation.id, limit=4, cursor=first.next_cursor)
    assert [message.id for message in (*first.items, *rest.items)] == [message.id for message in said]
    assert rest.next_cursor is None
    assert [m.id for m in history.past(talk.owner, talk.conversation.id, before=said[3].id).messages] == [
        message.id for message in said[:3]
    ]
    with pytest.raises(NotFound):
        history.past(talk.owner, talk.conversation.id, before=new_id())


def test_a_finished_answer_is_stored_whole(history: MongoHistory, talk: Talk) -> None:
    _, answer = talk.ask("Hi")
    part = replace(answer, text="Hel")
    history.finish(part, durable=False)
    assert history.message(talk.owner, answer.id).text == "Hel"
    whole = replace(answer, text="Hello.", status="complete", finish_reason="stop", usage=Usage(9, 2))
    history.finish(whole)
    assert history.message(talk.owner, answer.id) == whole


def test_the_conversation_is_listed_by_its_last_message(history: MongoHistory, talk: Talk) -> None:
    talk.ask("one")
    other = Talk(history, owner=talk.owner)
    other.ask("two")
    later = [replace(message, created_at=now() + timedelta(minutes=1)) for message in talk.pair("three")]
    talk.begin(*later)
    listed = history.conversations(talk.owner, limit=9, cursor=None).items
    assert [item.id for item in listed] == [talk.conversation.id, other.conversation.id]
    assert listed[0].updated_at == later[1].created_at


def test_beginning_twice_stores_once(history: MongoHistory, talk: Talk, places: Places) -> None:
    pair = talk.pair("Hi")
    for _ in range(2):
        history.begin(talk.conversation, pair, new=True)
    history.begin(talk.conversation, pair, new=False)
    assert talk.ids == [message.id for message in pair]
    edited = talk.pair("Hello")
    for _ in range(2):
        history.begin(talk.conversation, edited, new=False, instead_of=pair[0].id)
    assert talk.ids == [message.id for message in edited]
    assert len(places(talk)) == 4


def test_a_pair_of_which_half_arrived_is_completed_in_its_places(
    history: MongoHistory, talk: Talk, places: Places, root: Client
) -> None:
    pair = talk.ask("Hi")
    talk.ask("More")
    root["chatbot"]["messages"].delete_one({"_id": pair[1].id})
    history.begin(talk.conversation, pair, new=False)
    assert list(places(talk).values()) == [0, 1, 2, 3]
    assert places(talk)[pair[1].id] == 1


def test_questions_at_the_same_time_keep_their_answers_beside_them(talk: Talk, places: Places) -> None:
    talk.ask("first")
    pairs = [talk.pair(str(number)) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: talk.begin(*pair), pairs))
    stored = places(talk)
    assert sorted(stored.values()) == list(range(82))
    assert all(stored[answer.id] == stored[question.id] + 1 for question, answer in pairs)


def test_a_conversation_that_lost_count_finds_its_end_again(talk: Talk, places: Places, root: Client) -> None:
    talk.ask("one")
    talk.ask("two")
    root["chatbot"]["conversations"].update_one({"_id": talk.conversation.id}, {"$set": {"messages": 1}})
    talk.ask("three")
    assert list(places(talk).values()) == [0, 1, 2, 3, 4, 5]
    assert talk.questions == ["one", "two", "three"]


# --- superseding -----------------------------------------------------------------------------------------------------


def test_an_edited_question_takes_the_place_of_all_behind_it(history: MongoHistory, talk: Talk) -> None:
    first = talk.ask("one")
    second = talk.ask("two")
    talk.ask("three")
    edited = talk.ask("two, better", instead_of=second[0])
    assert talk.ids == [message.id for message in (*first, *edited)]
    page = history.messages(talk.owner, talk.conversation.id, limit=3, cursor=None)
    rest = history.messages(talk.owner, talk.conversation.id, limit=3, cursor=page.next_cursor)
    assert [message.id for message in (*page.items, *rest.items)] == talk.ids
    assert history.message(talk.owner, second[0].id).text == "two"  # kept, though not shown
    before = history.past(talk.owner, talk.conversation.id, before=edited[1].id).messages
    assert [message.text for message in before if message.role == "user"] == ["one", "two, better"]


def test_a_regenerated_answer_alone_can_be_regenerated_again(talk: Talk, root: Client) -> None:
    question, answer = talk.ask("one")
    for _ in range(5):
        again = replace(answer, id=new_id(), created_at=now())
        talk.begin(again, instead_of=answer)
        answer = again
    talk.ask("two")
    assert talk.ids[:2] == [question.id, answer.id]
    assert talk.questions == ["one", "two"]
    entries = root["chatbot"]["conversations"].find_one({"_id": talk.conversation.id})
    assert entries is not None
    assert entries["superseded"] == [{"first": 1, "end": 6}]


def test_what_is_superseded_strange_or_unknown_cannot_be_superseded(history: MongoHistory, talk: Talk) -> None:
    first = talk.ask("one")
    strange = Talk(history).ask("strange")
    talk.ask("better", instead_of=first[0])
    shown = talk.ids
    for message in (first[0], strange[0], talk.pair("never stored")[0]):
        with pytest.raises(NotFound):
            talk.ask("x", instead_of=message)
    assert talk.ids == shown


def test_edits_at_the_same_time_leave_one_version(talk: Talk) -> None:
    first = talk.ask("one")
    second = talk.ask("two")

    def edit(number: int) -> bool:
        try:
            talk.ask(f"edit {number}", instead_of=second[0])
        except NotFound:  # another one was faster
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert any(pool.map(edit, range(16)))
    assert talk.questions[0] == "one"
    assert [id_ for id_ in talk.ids if id_ in {second[0].id, second[1].id}] == []
    assert len(talk.questions) == 2
    assert talk.ids[:2] == [message.id for message in first]


def test_a_question_on_its_way_while_its_place_was_superseded_stays_hidden(
    talk: Talk, root: Client, places: Places
) -> None:
    """It was given its place before the edit and is inserted after it, as when its thread was held up in between."""
    first = talk.ask("one")
    late = talk.ask("late")
    kept = [root["chatbot"]["messages"].find_one_and_delete({"_id": message.id}) for message in late]
    edited = talk.ask("one, better", instead_of=first[0])
    root["chatbot"]["messages"].insert_many([document for document in kept if document])
    assert len(places(talk)) == 6
    assert talk.ids == [message.id for message in edited]


def test_many_superseded_ranges_are_read_over(talk: Talk, history: MongoHistory) -> None:
    for number in range(80):
        question, answer = talk.ask(str(number))
        talk.begin(replace(answer, id=new_id()), instead_of=answer)
        assert talk.ids[-2] == question.id
    assert talk.questions == [str(number) for number in range(80)]
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        page = history.messages(talk.owner, talk.conversation.id, limit=33, cursor=cursor)
        seen += [message.id for message in page.items]
        cursor = page.next_cursor
    assert seen == talk.ids
    assert len(seen) == 160


# --- limits of what is read ------------------------------------------------------------------------------------------


def test_a_very_long_conversation_is_read_from_a_place_that_rarely_moves(talk: Talk, history: MongoHistory) -> None:
    begins = []
    for number in range(265):
        talk.ask(str(number))
        if number % 5 == 4:
            recent = history.past(talk.owner, talk.conversation.id).messages
            assert len(recent) >= min(2 * number + 2, 400)
            begins.append(int(recent[0].text))
    assert set(begins) == {0, 50}


def test_conversations_of_the_same_moment_are_all_listed(history: MongoHistory) -> None:
    owner, moment = f"key:{new_id()}", now()
    same = [Conversation(new_id(), owner, "bot", "title", moment, moment) for _ in range(5)]
    older = replace(same[0], id=new_id(), updated_at=moment - timedelta(days=1))
    for each in (*same, older):
        history.begin(each, [Message(new_id(), each.id, "user", "Hi", each.updated_at)], new=True)
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = history.conversations(owner, limit=2, cursor=cursor)
        seen += [item.id for item in page.items]
        cursor = page.next_cursor
    assert sorted(seen) == sorted(item.id for item in (*same, older))
    assert seen[-1] == older.id


# --- feedback, titles, deletion --------------------------------------------------------------------------------------


def test_an_answer_is_rated_anew_and_no_more(history: MongoHistory, talk: Talk) -> None:
    question, answer = talk.ask("Hi")
    for feedback in (Feedback("up"), Feedback("down", "wrong year 🙁"), None):
        history.rate(talk.owner, answer.id, feedback)
        assert history.message(talk.owner, answer.id).feedback == feedback
    with pytest.raises(InvalidRequest, match="rating: only answers"):
        history.rate(talk.owner, question.id, Feedback("up"))


def test_a_rating_survives_that_the_answer_is_finished(history: MongoHistory, talk: Talk) -> None:
    _, answer = talk.ask("Hi")
    history.rate(talk.owner, answer.id, Feedback("up"))
    history.finish(replace(answer, text="Hello"))
    assert history.message(talk.owner, answer.id).feedback == Feedback("up")


def test_a_title_changes_nothing_else(history: MongoHistory, talk: Talk) -> None:
    talk.ask("Hi")
    before = history.conversation(talk.owner, talk.conversation.id)
    renamed = history.rename(talk.owner, talk.conversation.id, "New")
    assert renamed == replace(before, title="New") == history.conversation(talk.owner, talk.conversation.id)


def test_somebody_elses_does_not_exist(history: MongoHistory, talk: Talk, places: Places) -> None:
    pair = talk.ask("mine")
    strange, where = f"key:{new_id()}", talk.conversation.id
    theirs = replace(talk.conversation, owner=strange)
    attempts: list[Callable[[], object]] = [
        lambda: history.conversation(strange, where),
        lambda: history.messages(strange, where, limit=1, cursor=None),
        lambda: history.past(strange, where),
        lambda: history.message(strange, pair[1].id),
        lambda: history.rate(strange, pair[1].id, Feedback("up")),
        lambda: history.rename(strange, where, "x"),
        lambda: history.begin(theirs, talk.pair("x"), new=False),
        lambda: history.begin(theirs, talk.pair("x"), new=False, instead_of=pair[0].id),
        lambda: history.delete(strange, where),
    ]
    before = places(talk)
    for attempt in attempts:
        with pytest.raises(NotFound):
            attempt()
    assert history.delete_all(strange) == 0
    assert places(talk) == before
    assert history.message(talk.owner, pair[1].id) == replace(pair[1], usage=Usage(None, None))


def test_nothing_comes_back_to_a_deleted_conversation(history: MongoHistory, talk: Talk, places: Places) -> None:
    pair = talk.ask("Hi")
    talk.ask("Hello", instead_of=pair[0])
    _, answer = talk.ask("More")
    history.delete(talk.owner, talk.conversation.id)
    for durable in (True, False):
        with pytest.raises(NotFound):
            history.finish(replace(answer, text="late"), durable=durable)
    with pytest.raises(NotFound):
        talk.ask("again")
    with pytest.raises(NotFound):
        history.delete(talk.owner, talk.conversation.id)
    assert places(talk) == {}


def test_questions_asked_while_the_conversation_is_deleted_leave_no_orphans(
    history: MongoHistory, places: Places
) -> None:
    for _ in range(10):
        talk = Talk(history)
        talk.ask("first")

        def ask(number: int, talk: Talk = talk) -> None:
            for step in range(5):
                try:
                    talk.ask(f"{number} {step}")
                except NotFound:
                    return

        with ThreadPoolExecutor(5) as pool:
            asking = [pool.submit(ask, number) for number in range(4)]
            pool.submit(history.delete, talk.owner, talk.conversation.id).result()
            for each in asking:
                each.result()
        assert places(talk) == {}


def test_a_keys_own_conversations_and_those_of_its_users_are_deleted_apart_or_together(history: MongoHistory) -> None:
    me = Identity(new_id(), "me", frozenset({"chat"}))
    # Their owners sort right before and behind the range that belongs to `me`.
    neighbours = [f"{me.owner}/", f"{me.owner}/user", f"{me.owner}/user;", f"{me.owner}0", f"key:{me.key_id[:-1]}"]
    for owner in (me.owner, me.owner, me.owner_of("ada"), me.owner_of("bob"), *neighbours):
        Talk(history, owner=owner).ask("Hi")
    assert history.delete_all(me.owner_of("ada")) == 1
    assert history.delete_all(me.owner) == 2
    assert len(history.conversations(me.owner_of("bob"), limit=9, cursor=None).items) == 1
    Talk(history, owner=me.owner).ask("Hi")
    assert history.delete_all(me.owner, users=True) == 2
    for owner in neighbours:
        assert len(history.conversations(owner, limit=9, cursor=None).items) == 1


def test_more_conversations_than_are_deleted_at_once(history: MongoHistory, root: Client) -> None:
    owner = f"key:{new_id()}"
    Talk(history, owner=owner).ask("Hi")
    root["chatbot"]["conversations"].insert_many(
        {"_id": new_id(), "owner": owner, "updated_at": now()} for _ in range(2100)
    )
    assert history.delete_all(owner) == 2101
    assert history.conversations(owner, limit=1, cursor=None).items == []
