"""Everybody's conversations in the console: found, read, exported, deleted; whatever visitors write stays text."""

from __future__ import annotations

import html
from dataclasses import replace
from datetime import timedelta

import pytest

from chatproxy.core.types import Conversation, Feedback, Message, Source, new_id, now
from tests.unit.proxy.fakes import World
from tests.unit.proxy.web.console.browsing import Browser, admitted

HOSTILE = "<script>alert(1)</script><img src=https://evil.example/x onerror=alert(1)> ![x](https://evil.example/y)"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def browser(world: World) -> Browser:
    return admitted(world)


def tell(world: World, *said: tuple[str, str], owner: str = "key:abc", bot: str = "assistant", age_days: int = 0,
         **fields: object) -> tuple[Conversation, list[Message]]:  # fmt: skip
    """A conversation of questions and answers; `fields` are the answers'."""
    moment = now() - timedelta(days=age_days)
    where = Conversation(new_id(), owner, bot, said[0][0][:80], moment, moment, 30)
    messages = []
    for asked, answered in said:
        messages.append(Message(new_id(), where.id, "user", asked, moment))
        answer = Message(new_id(), where.id, "assistant", answered, moment, "complete", "stop")
        messages.append(replace(answer, **fields))  # type: ignore[arg-type]
    world.history.begin(where, messages, new=True)
    return where, messages


def test_the_newest_stand_first_and_the_others_on_later_pages(world: World, browser: Browser) -> None:
    for number in range(60):
        tell(world, (f"question {number:02}.", "answer"), age_days=number)
    first = browser.get("/conversations")
    assert first.text.index("question 00.") < first.text.index("question 49.")
    assert "question 50." not in first.text
    link = html.unescape(first.text.partition('<a href="/conversations?')[2].partition('"')[0])
    second = browser.get(f"/conversations?{link}")
    assert "question 50." in second.text and "question 49." not in second.text
    assert ">Earlier<" not in second.text


def test_they_are_found_by_word_bot_rating_interruption_and_time(world: World, browser: Browser) -> None:
    tell(world, ("Where is my lamp?", "In the post."), bot="mira", age_days=3)
    tell(world, ("A bad one", "Wrong."), feedback=Feedback("down", "not true"))
    tell(world, ("A good one", "Right."), feedback=Feedback("up"))
    tell(world, ("Half", "It is"), status="interrupted", finish_reason=None)
    for query, expected in {
        "text=LAMP": {"lamp"},
        "text=lamp&bot=assistant": set(),
        "bot=mira": {"lamp"},
        "rating=bad": {"not true"},
        "rating=good": {"Right."},
        "rating=any": {"not true", "Right."},
        "interrupted=1": {"It is"},
        f"from={(now() - timedelta(days=1)).date()}": {"bad one", "good one", "Half"},
        f"to={(now() - timedelta(days=1)).date()}": {"lamp"},
    }.items():
        shown = browser.get(f"/conversations?{query}").text.partition('</form>\n<p class="note">')[2]
        known = {"lamp", "not true", "Right.", "It is", "bad one", "good one", "Half"}
        wanted = expected | {"Half"} if query == "interrupted=1" else expected
        wanted = wanted | {"bad one"} if "not true" in expected else wanted
        wanted = wanted | {"good one"} if "Right." in expected else wanted
        assert {each for each in known if each in shown} == wanted, query


@pytest.mark.parametrize(
    "query", ["from=tomorrow", "to=2026-13-01", "rating=best", "cursor=x", "text=" + "+".join("abcdefghijklmnopq")]
)
def test_a_wish_that_cannot_be_is_told_beside_the_form(world: World, browser: Browser, query: str) -> None:
    tell(world, ("a", "b"))
    answer = browser.get(f"/conversations?{query}")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text and 'name="text"' in answer.text


def test_what_visitors_and_models_write_stays_text(world: World, browser: Browser) -> None:
    source = Source(1, HOSTILE, "javascript:alert(1)", HOSTILE)
    where, messages = tell(world, (HOSTILE, HOSTILE), sources=(source,), feedback=Feedback("down", HOSTILE))
    pages = [
        f"/conversations/{where.id}",
        "/conversations",
        "/conversations?rating=bad",
        "/conversations?text=evil.example",
        f"/conversations/{where.id}/wrong/{messages[1].id}",
    ]
    for path in pages:
        answer = browser.get(path)
        assert answer.status_code == 200
        text = answer.text.lower()
        assert (
            "<img" not in text
            and "<script>" not in text
            and 'href="javascript' not in text
            and "alert(1)</script>" not in text
        )
        assert text.count("<script") == 1  # our own


def test_a_conversation_tells_who_where_and_how_long(world: World, browser: Browser) -> None:
    site = world.site("https://shop.example")
    where, _ = tell(world, ("Hi", "**Hello**"), owner=f"site:{site}/visitor:{'ab' * 16}")
    text = browser.get(f"/conversations/{where.id}").text
    assert "visitor abababab" in text and "abababababab" not in text.partition("<main")[2].replace(where.id, "")
    assert "https://shop.example" in text and "30 days after its last message" in text
    assert "<strong>Hello</strong>" in text
    world.history.conversations_by_id[where.id] = replace(where, retention_days=None)
    assert "until somebody deletes it" in browser.get(f"/conversations/{where.id}").text


@pytest.mark.parametrize("owner", ["key:gone", "key:gone/user:0123", "site:/visitor:v", "site:site_gone/visitor:v"])
def test_owners_whose_key_is_gone_can_be_read_still(world: World, browser: Browser, owner: str) -> None:
    where, _ = tell(world, ("Hi", "Hello"), owner=owner)
    assert browser.get(f"/conversations/{where.id}").status_code == 200


def test_long_conversations_come_in_pages(world: World, browser: Browser) -> None:
    where, _ = tell(world, *((f"q{number}.", f"a{number}.") for number in range(30)))
    first = browser.get(f"/conversations/{where.id}").text
    assert "q19." in first and "q20." not in first
    assert "q20." in browser.get(f"/conversations/{where.id}?cursor=40").text


def test_a_message_that_was_found_stands_on_the_page_that_is_linked(world: World, browser: Browser) -> None:
    turns = [*((f"q{number}.", f"a{number}.") for number in range(25)), ("Where is my lamp?", "In the post.")]
    where, messages = tell(world, *turns)
    for word, message in (("lamp", messages[-2]), ("post", messages[-1]), ("q0.", messages[0])):
        found = browser.get(f"/conversations?text={word}").text
        link = html.unescape(found.partition(f'<a href="/conversations/{where.id}')[2].partition('"')[0])
        query, _, anchor = link.partition("#")
        assert anchor == f"m-{message.id}"
        shown = browser.get(f"/conversations/{where.id}{query}").text
        assert f'id="{anchor}"' in shown
        if message.role == "assistant":  # with what was asked
            assert "Where is my lamp?" in shown


def test_both_exports_are_the_apis_own_and_are_written_down(world: World, browser: Browser) -> None:
    where, _ = tell(world, ("Hi", "Hello"))
    as_json = browser.post(f"/conversations/{where.id}/export", {"format": "json"})
    assert as_json.get_json()["messages"][1]["text"] == "Hello"
    as_markdown = browser.post(f"/conversations/{where.id}/export", {"format": "markdown"})
    assert "> Hello" in as_markdown.text and "attachment" in as_markdown.headers["Content-Disposition"]
    assert [(act.what, act.subject) for act in world.audit.acts[-2:]] == [("conversation.export", where.id)] * 2


def test_one_is_deleted_and_it_is_written_down(world: World, browser: Browser) -> None:
    where, _ = tell(world, ("Hi", "Hello"))
    other, _ = tell(world, ("Hi", "Hello"))
    answer = browser.post(f"/conversations/{where.id}/delete")
    assert answer.headers["Location"] == "/conversations?done=conversation.delete"
    assert list(world.history.conversations_by_id) == [other.id]
    act = world.audit.acts[-1]
    assert (act.actor, act.what, act.subject, act.outcome) == ("anna", "conversation.delete", where.id, "done")
    assert browser.get(f"/conversations/{where.id}").status_code == 404


def test_all_of_one_owner_are_deleted_once_somebody_is_sure(world: World, browser: Browser) -> None:
    mine = [tell(world, ("Hi", "Hello"), owner="key:a/user:1")[0] for _ in range(3)]
    other, _ = tell(world, ("Hi", "Hello"), owner="key:a/user:2")
    path = f"/conversations/{mine[0].id}/delete-all"
    assert browser.post(path).status_code == 400
    assert len(world.history.conversations_by_id) == 4
    assert browser.post(path, {"sure": "1"}).status_code == 303
    assert list(world.history.conversations_by_id) == [other.id]
    assert [(act.subject, act.outcome) for act in world.audit.acts[-2:]] == [
        ("key:a/user:1", "invalid_request"),
        ("key:a/user:1 (3 conversations)", "done"),
    ]


@pytest.mark.parametrize("given", ["x", "0" * 32, "0" * 31 + "G"])
def test_what_is_not_there_is_a_404(browser: Browser, given: str) -> None:
    assert browser.get(f"/conversations/{given}").status_code == 404
    assert browser.get(f"/conversations/{given}/wrong/{'0' * 32}").status_code == 404
    assert browser.post(f"/conversations/{given}/delete").status_code == 404
