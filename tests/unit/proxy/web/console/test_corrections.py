""" "This answer was wrong": to a rule that counts at once, or to a document that the bot answers from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chatproxy.core.types import Bot, Message
from tests.unit.proxy.fakes import ASSISTANT, FakeBots, World
from tests.unit.proxy.web.console.browsing import Browser, admitted
from tests.unit.proxy.web.console.test_conversations import tell

GUIDE = Bot("guide", "Guide", format="chatml", knowledge=("handbook",))


@pytest.fixture
def world() -> World:
    return World(bots=FakeBots(ASSISTANT, GUIDE))


@pytest.fixture
def browser(world: World) -> Browser:
    return admitted(world)


def answered(world: World, bot: str = "assistant") -> tuple[str, Message]:
    """The path of the page about a wrong answer, and that answer."""
    where, messages = tell(world, ("How much is\nthe blue lamp?", "It is free."), bot=bot)
    return f"/conversations/{where.id}/wrong/{messages[1].id}", messages[1]


def ask(world: World, question: str, bot: str = "assistant") -> str:
    answer = world.client().post("/api/v1/chat", json={"message": question, "bot": bot})
    return str(answer.get_json()["answer"])


def test_a_wrong_answer_becomes_a_rule_that_answers_the_same_question(world: World, browser: Browser) -> None:
    path, wrong = answered(world)
    assert "How much is the blue lamp?" in browser.get(path).text  # as the first phrase
    given = {"phrases": "how much is the blue lamp\nprice of the blue lamp", "answer": "30 euros.", "for": "bot"}
    assert browser.post(f"{path}/rule", given).status_code == 303
    assert ask(world, "HOW MUCH is the blue lamp, please?") == "30 euros."
    assert world.engine.generations == []
    assert ask(world, "how much is the blue lamp?", "guide") == "Hello there."
    rule = world.rules.rules[0]
    assert (rule.made_by, rule.message_id, rule.bot) == ("anna", wrong.id, "assistant")
    act = world.audit.acts[-1]
    assert (act.what, act.subject, act.outcome) == ("rule.add", f"assistant, answer {wrong.id}", "done")


def test_the_way_back_leads_to_the_answer_in_a_long_conversation_too(world: World, browser: Browser) -> None:
    where, messages = tell(world, *((f"q{number}.", f"a{number}.") for number in range(26)))
    page = browser.get(f"/conversations/{where.id}/wrong/{messages[-1].id}").text
    link, _, anchor = page.partition('">Back to')[0].rpartition('href="')[2].partition("#")
    assert anchor == f"m-{messages[-1].id}"
    assert f'id="{anchor}"' in browser.get(link).text


def test_an_answer_of_another_conversation_is_not_there(world: World, browser: Browser) -> None:
    path, _ = answered(world)
    _, other = answered(world)
    assert browser.get(f"{path.rpartition('/')[0]}/{other.id}").status_code == 404


def test_a_rule_for_all_bots_and_its_end(world: World, browser: Browser) -> None:
    path, _ = answered(world)
    browser.post(f"{path}/rule", {"phrases": "blue lamp", "answer": "30 euros.", "for": "all"})
    assert ask(world, "The blue lamp?", "guide") == ask(world, "The blue lamp?") == "30 euros."
    listed = browser.get("/conversations/rules").text
    assert "blue lamp" in listed and "30 euros." in listed and "by anna" in listed
    rule = world.rules.rules[0].id
    assert browser.post(f"/conversations/rules/{rule}/remove").status_code == 303
    assert ask(world, "The blue lamp?") == "Hello there."
    assert browser.post(f"/conversations/rules/{rule}/remove").status_code == 404


def test_rules_are_made_without_a_conversation_too(world: World, browser: Browser) -> None:
    given = {"bot": "guide", "phrases": "opening hours", "answer": "Nine to five."}
    assert browser.post("/conversations/rules", given).status_code == 303
    assert ask(world, "Your opening hours?", "guide") == "Nine to five."
    assert browser.post("/conversations/rules", {**given, "bot": "nobody"}).status_code == 404


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"phrases": " \n", "answer": "x"}, "phrases: must be 1 to 20"),
        ({"phrases": "\n".join(f"p{n}" for n in range(21)), "answer": "x"}, "phrases: must be 1 to 20"),
        ({"phrases": "\u00ad", "answer": "x"}, "phrases: each must have a word"),
        ({"phrases": "y" * 201, "answer": "x"}, "at most 200 characters"),
        ({"phrases": "lamp", "answer": " "}, "answer: must have 1 to"),
    ],
)
def test_a_rule_that_cannot_be_keeps_what_was_typed(
    world: World, browser: Browser, given: dict[str, str], told: str
) -> None:
    path, _ = answered(world)
    for action in (f"{path}/rule", "/conversations/rules"):
        answer = browser.post(action, given)
        assert answer.status_code == 400 and told in answer.text
        assert f">{given['phrases'].strip()[:50]}" in answer.text.replace("> \n", ">")
    assert world.rules.rules == []
    assert world.audit.acts[-1].outcome != "done"


def test_a_wrong_answer_becomes_a_document_of_the_bots_collection(world: World, browser: Browser) -> None:
    path, wrong = answered(world, "guide")
    assert "handbook" in browser.get(path).text
    given = {"question": "How much is the [blue] lamp?", "right": "**30 euros**.\r\nWith VAT."}
    for text in ("**20 euros**.", given["right"]):  # the second takes the first one's place
        assert browser.post(f"{path}/source", {**given, "right": text}).status_code == 303
    (shelf,) = world.knowledge.library.shelves()
    assert (shelf.source.collection, shelf.source.location) == ("handbook", f"correction-{wrong.id[:16]}.md")
    assert shelf.source.upload
    data = world.knowledge.originals.read(shelf.source.upload.original)
    assert data.decode() == "# How much is the \\[blue\\] lamp?\n\n**30 euros**.\nWith VAT.\n"
    assert world.audit.acts[-1].what == "source.from-answer"


def test_a_bot_without_documents_is_told_as_such(world: World, browser: Browser) -> None:
    path, _ = answered(world)
    assert "answers from no documents" in browser.get(path).text
    answer = browser.post(f"{path}/source", {"question": "q", "right": "a"})
    assert answer.status_code == 400 and "answers from no collection" in answer.text
    world.bots.bots.pop("assistant")
    assert "is gone" in browser.get(path).text
    assert browser.post(f"{path}/source", {"question": "q", "right": "a"}).status_code == 404


def test_only_an_answer_of_that_conversation_can_be_wrong(world: World, browser: Browser) -> None:
    _, wrong = answered(world)
    where, messages = tell(world, ("other", "other"))
    for message in (messages[0].id, wrong.id):
        assert browser.get(f"/conversations/{where.id}/wrong/{message}").status_code == 404
        given = {"phrases": "a", "answer": "b"}
        assert browser.post(f"/conversations/{where.id}/wrong/{message}/rule", given).status_code == 404
    assert world.rules.rules == []


def test_rules_made_here_come_before_those_of_the_file(world: World, browser: Browser) -> None:
    from chatproxy.core.types import Rule

    world.bots.bots["assistant"] = replace(ASSISTANT, rules=(Rule(("lamp",), "from the file"),))
    browser.post("/conversations/rules", {"bot": "", "phrases": "blue lamp", "answer": "from here"})
    assert ask(world, "A blue lamp") == "from here"
    assert ask(world, "A red lamp") == "from the file"
