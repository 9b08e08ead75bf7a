"""One question and what can be done with its answer."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visits
from tests.browser.stage import Stage, words
from tests.browser.widget import PATIENCE_MS, Widget, until
from tests.doubles.koboldcpp import Fault, KoboldcppDouble


def test_an_answer_appears_word_by_word(visits: Visits, slow: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    widget.write("Tell me about lamps.")
    widget.reaches("streaming")
    seen = set()
    for _ in range(20):
        seen.add(len(widget.text.inner_text()))
        widget.page.wait_for_timeout(60)
    assert len(seen) >= 8, "the words came in lumps"
    assert sorted(seen)[0] < 100


def test_markdown_is_shown_as_it_is_meant(visits: Visits, engine: KoboldcppDouble) -> None:
    engine.reply = ["**Two** lamps:\n\n", "- red\n- green\n\n", "| a | b |\n|---|---|\n| 1 | 2 |\n\n", "`x < y`"]
    widget = visits.homepage().open()
    widget.ask("Which?")
    expect(widget.text.locator("strong")).to_have_text("Two")
    expect(widget.text.locator("li")).to_have_text(["red", "green"])
    expect(widget.text.locator("td")).to_have_text(["1", "2"])
    expect(widget.text.locator("code")).to_have_text("x < y")


def test_who_waits_is_told_place_and_time(visits: Visits, slow: KoboldcppDouble) -> None:
    first = visits.homepage().open()
    first.write("Me first.")
    first.reaches("streaming")
    second = visits.homepage().open()
    second.write("Me next.")
    second.reaches("queued")
    expect(second.part(".queue")).to_contain_text(re.compile(r"\b1\b"))
    first.action("stop").click()
    second.reaches("streaming")
    expect(second.part(".queue")).to_have_count(0)
    second.action("stop").click()
    second.reaches("cancelled")


def test_stop_ends_the_engines_work_and_keeps_what_was_said(
    stage: Stage, visits: Visits, slow: KoboldcppDouble
) -> None:
    widget = visits.homepage().open()
    widget.write("Tell me everything.")
    widget.reaches("streaming")
    expect(widget.text).to_contain_text("word5", timeout=PATIENCE_MS)
    widget.action("stop").click()
    widget.reaches("cancelled")
    until(lambda: stage.idle() and not slow.slot.busy, widget.page, 3)
    assert len(slow.generations[-1].tokens) < 150, "the engine wrote on"
    shown = widget.text.inner_text()
    assert shown.startswith("word0 word1")
    stored = stage.messages(widget.token(), widget.conversation())
    assert [message["text"] for message in stored] == ["Tell me everything.", shown]
    # And the next question is answered.
    slow.reply = ("Fine", ".")
    assert widget.ask("Still there?") == "Fine."


def test_stop_while_waiting_gives_the_place_away(stage: Stage, visits: Visits, slow: KoboldcppDouble) -> None:
    first = visits.homepage().open()
    first.write("Me first.")
    first.reaches("streaming")
    second = visits.homepage().open()
    second.write("I have changed my mind.")
    second.reaches("queued")
    second.action("stop").click()
    second.reaches("cancelled")
    until(lambda: stage.proxy.ready()[1]["engine"]["waiting"] == 0, second.page, 3)
    first.action("stop").click()
    first.reaches("cancelled")


def test_another_answer_takes_the_first_ones_place(stage: Stage, visits: Visits, engine: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    engine.reply = ("The", " first", ".")
    widget.ask("How many?")
    engine.reply = ("The", " second", ".")
    widget.action("retry", ".message.bot").click()
    expect(widget.text).to_have_text("The second.", timeout=PATIENCE_MS)
    expect(widget.questions).to_have_count(1)
    expect(widget.answers).to_have_count(1)
    stored = stage.messages(widget.token(), widget.conversation())
    assert [message["text"] for message in stored] == ["How many?", "The second."]


def test_a_failed_answer_says_so_and_can_be_tried_again(stage: Stage, visits: Visits, engine: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    engine.fault = Fault.drop()
    widget.ask("Are you there?", "error")
    expect(widget.answer.locator(".note")).to_have_text("No answer could be made. Please try again.")
    engine.fault = None
    widget.action("retry", ".message.bot").click()
    widget.reaches("done")
    assert widget.text.inner_text() == "Hello there."
    assert len(stage.messages(widget.token(), widget.conversation())) == 2


def test_an_answer_that_broke_off_in_the_middle_is_kept_and_goes_on(
    stage: Stage, visits: Visits, engine: KoboldcppDouble
) -> None:
    widget = visits.homepage().open()
    engine.reply, engine.slot.token_delay = words(20), 0.02
    engine.fault = Fault.drop(6)
    widget.ask("Count.", "interrupted")
    assert widget.text.inner_text().startswith("word0 word1")
    engine.fault = None
    engine.reply = (" and", " done", ".")
    widget.action("retry", ".message.bot").click()
    widget.reaches("done")
    shown = widget.text.inner_text()
    assert shown.startswith("word0 word1") and shown.endswith("and done.")
    assert stage.messages(widget.token(), widget.conversation())[-1]["text"] == shown


def test_copy_puts_the_answers_own_text_on_the_clipboard(visits: Visits, engine: KoboldcppDouble) -> None:
    engine.reply = ("**Bold**", " & <plain>", " 🪔")
    widget = visits.homepage(context={"permissions": ["clipboard-read", "clipboard-write"]}).open()
    widget.ask("Say it.")
    widget.action("copy", ".message.bot").click()
    expect(widget.part(".announce")).to_contain_text("Copied")
    assert widget.page.evaluate("() => navigator.clipboard.readText()") == "**Bold** & <plain> 🪔"


def test_copying_works_where_the_clipboard_is_closed(visits: Visits, engine: KoboldcppDouble) -> None:
    """As in frames and on pages without https: the old way."""
    widget = visits.homepage(context={"permissions": []}).open()
    widget.page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('closed')); }")
    widget.page.evaluate("() => { addEventListener('copy', () => { window.copied = true; }, true); }")
    widget.ask("Say it.")
    widget.action("copy", ".message.bot").click()
    expect(widget.part(".announce")).to_contain_text("Copied")
    assert widget.page.evaluate("() => window.copied === true")
    expect(widget.action("copy", ".message.bot")).to_be_focused()


def test_an_edited_question_replaces_what_came_after_it(stage: Stage, visits: Visits, engine: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    widget.ask("One?")
    widget.ask("Two?")
    widget.questions.first.locator("[data-action=edit]").click()
    expect(widget.field).to_be_focused()
    expect(widget.field).to_have_value("One?")
    engine.reply = ("Changed", ".")
    widget.field.fill("Uno?")
    widget.field.press("Enter")
    expect(widget.questions).to_have_count(1)
    expect(widget.text).to_have_text("Changed.", timeout=PATIENCE_MS)
    stored = stage.messages(widget.token(), widget.conversation())
    assert [message["text"] for message in stored] == ["Uno?", "Changed."]
    widget.page.reload()
    widget.open()
    expect(widget.questions).to_have_text(["Uno?"])


def test_an_edit_can_be_left(visits: Visits) -> None:
    widget = visits.homepage().open()
    widget.ask("One?")
    widget.action("edit").click()
    widget.field.press("Escape")
    expect(widget.field).to_have_value("")
    expect(widget.panel).to_be_visible()
    widget.ask("Two?")
    expect(widget.questions).to_have_text(["One?", "Two?"])


@pytest.mark.parametrize(("thumb", "rating"), [("up", "up"), ("down", "down")])
def test_a_thumb_and_its_comment_are_stored(stage: Stage, visits: Visits, thumb: str, rating: str) -> None:
    widget = visits.homepage().open()
    widget.ask("Good?")
    widget.action(thumb, ".message.bot").click()
    expect(widget.action(thumb, ".message.bot")).to_have_attribute("aria-pressed", "true")
    widget.part(".comment textarea").fill("Because <b>of</b> the lamps.")
    widget.part(".comment button[type=submit]").click()
    expect(widget.part(".comment")).to_have_count(0)
    stored = stage.messages(widget.token(), widget.conversation())[-1]["feedback"]
    assert (stored["rating"], stored["comment"]) == (rating, "Because <b>of</b> the lamps.")
    widget.action(thumb, ".message.bot").click()
    expect(widget.action(thumb, ".message.bot")).to_have_attribute("aria-pressed", "false")
    until(lambda: not stage.messages(widget.token(), widget.conversation())[-1]["feedback"], widget.page)


SOURCES = [
    {"n": 1, "title": "Returns", "url": "https://shop.example/returns", "snippet": "Within 14 days."},
    {"n": 2, "title": "A book", "url": "", "snippet": "Page 3."},
    {"n": 3, "title": "Bad", "url": "javascript:alert(1)", "snippet": ""},
]


def _with_sources(route: Route) -> None:
    """The real stream, with sources in it of every kind, also of one that retrieval would not give."""
    response = route.fetch()
    body = response.text()
    sources = f"event: sources\ndata: {json.dumps({'sources': SOURCES})}\n\n"
    body = body.replace("event: token", sources + "event: token", 1)
    body = body.replace('"sources":[]', f'"sources":{json.dumps(SOURCES)}')
    route.fulfill(response=response, body=body)


def test_citations_open_their_source(visits: Visits, engine: KoboldcppDouble) -> None:
    engine.reply = ("Send it back [1], see also [2] and [3] but not [9] or `[1]`.",)
    widget = visits.homepage().open()
    widget.page.route("**/api/v1/chat", _with_sources)
    widget.ask("How do I return it?")
    cited = widget.text.locator("a")
    expect(cited).to_have_text(["[1]"])
    expect(cited).to_have_attribute("href", "https://shop.example/returns")
    expect(widget.part(".sources li")).to_have_count(3)
    listed = widget.part(".sources a")
    expect(listed).to_have_text(["Returns"])
    widget.page.context.route("https://shop.example/**", lambda route: route.fulfill(body="the returns page"))
    visits.watch.expect("stranger: GET https://shop.example/returns")
    with widget.page.context.expect_page() as opened:
        cited.click()
    assert opened.value.url == "https://shop.example/returns"
    assert opened.value.evaluate("() => window.opener === null")
    assert opened.value.evaluate("() => document.referrer") == ""


def test_links_in_answers_open_apart(visits: Visits, engine: KoboldcppDouble) -> None:
    engine.reply = ("See [our page](https://shop.example/a?b=1&c=2).",)
    widget = visits.homepage().open()
    widget.ask("Where?")
    link = widget.text.locator("a")
    expect(link).to_have_attribute("href", "https://shop.example/a?b=1&c=2")
    assert "noopener" in (link.get_attribute("rel") or "")
    widget.page.context.route("https://shop.example/**", lambda route: route.fulfill(body="the page"))
    visits.watch.expect("stranger: GET https://shop.example/a")
    before = widget.page.url
    with widget.page.context.expect_page():
        link.click()
    assert widget.page.url == before, "the visitor lost the page, and the conversation with it"


def test_a_message_of_many_lines_and_scripts_comes_back_as_written(
    stage: Stage, visits: Visits, engine: KoboldcppDouble
) -> None:
    engine.reply = ("שלום", " ", "العالم", " 👨‍👩‍👧", " e\u0301")
    widget = visits.homepage().open()
    question = "First line\n\n  second — line 🪔\n<b>third</b>"
    widget.field.fill(question)
    widget.field.press("Enter")
    widget.reaches("done")
    assert widget.questions.locator(".text").inner_text() == question
    assert stage.messages(widget.token(), widget.conversation())[0]["text"] == question
    assert widget.text.inner_text() == "שלום العالم 👨‍👩‍👧 e\u0301"


def test_shift_enter_makes_a_line_and_an_empty_message_is_not_sent(visits: Visits) -> None:
    widget: Widget = visits.homepage().open()
    widget.field.press("Enter")
    widget.field.fill("   ")
    widget.field.press("Enter")
    expect(widget.questions).to_have_count(0)
    widget.field.fill("a")
    widget.field.press("Shift+Enter")
    widget.field.press_sequentially("b")
    expect(widget.field).to_have_value("a\nb")
    expect(widget.questions).to_have_count(0)
