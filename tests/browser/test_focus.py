"""Where the focus is while the server is slow: never nowhere, never torn away from what the visitor does meanwhile."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visits
from tests.browser.keyboard import frames, kept
from tests.browser.slowly import slow
from tests.browser.stage import Stage
from tests.browser.widget import Widget, until

MAIL_SCRIPT = re.compile(r"/mail\.js$")
LIST = re.compile(r"/api/v1/conversations\?")
CONVERSATION = re.compile(r"/api/v1/conversations/[^/?]+\?")
EVERYTHING = re.compile(r"/api/v1/conversations$")
FEEDBACK = re.compile(r"/feedback$")
HANDOFF = re.compile(r"/handoff$")


def choose(widget: Widget, action: str) -> None:
    widget.part(".menu-button").click()
    widget.action(action, ".menu").focus()
    widget.page.keyboard.press("Enter")


def press_escape(widget: Widget) -> None:
    widget.page.keyboard.press("Escape")
    expect(widget.panel).to_be_visible()
    expect(widget.part(".log")).to_be_visible()
    expect(widget.part(".menu")).to_be_hidden()
    kept(widget)


def test_a_form_that_is_on_its_way_can_be_waited_for(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    with slow(widget.page, MAIL_SCRIPT) as script:
        choose(widget, "email")
        script.arrived(widget.page)
        kept(widget)
        script.let_go(widget.page)
        expect(widget.action("mail-open")).to_be_focused()
        expect(widget.part(".menu")).to_be_hidden()


def test_a_form_that_is_on_its_way_can_be_left(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    with slow(widget.page, MAIL_SCRIPT) as script:
        choose(widget, "email")
        script.arrived(widget.page)
        kept(widget)
        press_escape(widget)
        script.let_go(widget.page)
        expect(widget.part(".log")).to_be_visible()
        expect(widget.part(".mail")).to_have_count(0)
        expect(widget.part(".menu-button")).to_be_focused()
    widget.page.keyboard.press("Escape")
    expect(widget.panel).to_be_hidden()
    expect(widget.launcher).to_be_focused()


def test_a_history_that_is_on_its_way_can_be_left(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    with slow(widget.page, LIST) as answer:
        choose(widget, "history")
        answer.arrived(widget.page)
        assert kept(widget) == ("button", "back")
        press_escape(widget)
        expect(widget.field).to_be_focused()
        answer.let_go(widget.page)
        expect(widget.part(".history")).to_be_hidden()
        expect(widget.field).to_be_focused()
        choose(widget, "history")
        answer.routes.pop()
    expect(widget.part(".history button[data-id]")).to_have_count(1)
    expect(widget.action("back")).to_be_focused()


def test_a_history_whose_answer_never_comes_can_be_left(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    widget.page.route(LIST, lambda route: route.abort())
    visits.watch.expect("ERR_FAILED")
    choose(widget, "history")
    expect(widget.part(".status")).not_to_be_empty()
    assert kept(widget) == ("button", "back")
    press_escape(widget)


def test_a_conversation_of_the_history_that_is_slow_to_come(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    choose(widget, "history")
    widget.part(".history button[data-id]").focus()
    with slow(widget.page, CONVERSATION) as answer:
        widget.page.keyboard.press("Enter")
        answer.arrived(widget.page)
        kept(widget)
        widget.part(".menu-button").focus()
        answer.let_go(widget.page)
        expect(widget.questions).to_have_count(1)
        expect(widget.part(".menu-button")).to_be_focused()


def test_the_list_beside_the_log_is_drawn_anew_under_a_visitors_hands(stage: Stage, visits: Visits) -> None:
    page = visits.page()
    page.goto(f"{stage.server}/chat?bot=shop")
    widget = Widget(page)
    widget.ask("First?")
    entry = widget.part(".history button[data-id]")
    expect(entry).to_have_count(1)
    with slow(page, LIST) as answer:
        widget.ask("Second?")
        answer.arrived(page)
        entry.focus()
        answer.let_go(page)
        expect(entry).to_be_focused()


def test_a_rating_does_not_tear_the_visitor_away(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    with slow(widget.page, FEEDBACK) as answer:
        widget.action("up", ".message.bot").click()
        answer.arrived(widget.page)
        widget.field.focus()
        widget.page.keyboard.type("And ")
        answer.let_go(widget.page)
        expect(widget.action("up", ".message.bot")).to_have_attribute("aria-pressed", "true")
        widget.page.keyboard.type("now")
        expect(widget.field).to_have_value("And now")


def test_a_comment_does_not_tear_the_visitor_away(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    widget.action("up", ".message.bot").click()
    widget.part(".comment textarea").fill("Quick.")
    with slow(widget.page, FEEDBACK) as answer:
        widget.part(".comment button").click()
        answer.arrived(widget.page)
        widget.field.focus()
        answer.let_go(widget.page)
        expect(widget.part(".comment")).to_have_count(0)
        expect(widget.field).to_be_focused()


def test_a_second_thumb_keeps_the_comment_and_goes_with_it(stage: Stage, visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    widget.action("up", ".message.bot").click()
    widget.part(".comment textarea").fill("Not what I asked.")
    widget.action("down", ".message.bot").click()
    expect(widget.action("down", ".message.bot")).to_have_attribute("aria-pressed", "true")
    expect(widget.action("up", ".message.bot")).to_have_attribute("aria-pressed", "false")
    expect(widget.part(".comment textarea")).to_have_value("Not what I asked.")
    widget.part(".comment button").click()
    expect(widget.part(".comment")).to_have_count(0)
    stored = stage.messages(widget.token(), widget.conversation("shop"))[-1]["feedback"]
    assert stored == {"rating": "down", "comment": "Not what I asked."}


def test_a_rating_that_is_taken_back_takes_its_comment_along(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    up = widget.action("up", ".message.bot")
    up.click()
    expect(widget.part(".comment")).to_have_count(1)
    up.click()
    expect(widget.part(".comment")).to_have_count(0)
    expect(up).to_have_attribute("aria-pressed", "false")
    assert kept(widget) == ("button", "up")


@pytest.mark.parametrize("left", [False, True], ids=["waited for", "left"])
def test_deleting_takes_its_time(visits: Visits, left: bool) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    choose(widget, "delete")
    expect(widget.action("keep")).to_be_focused()
    with slow(widget.page, EVERYTHING) as answer:
        widget.action("delete-all").focus()
        widget.page.keyboard.press("Enter")
        answer.arrived(widget.page)
        assert kept(widget) == ("button", "delete-all")
        if left:
            press_escape(widget)
            choose(widget, "history")
            assert kept(widget) == ("button", "back")
        answer.let_go(widget.page)
    expect(widget.questions).to_have_count(0)
    if left:
        expect(widget.part(".history")).to_be_visible()
        expect(widget.action("back")).to_be_focused()
    else:
        expect(widget.part(".side")).to_be_hidden()
        expect(widget.field).to_be_focused()


def with_smtp(widget: Widget) -> None:
    """As if the server sent the mail itself: the description says so, and the calls are answered by the test."""

    def describe(route: Route) -> None:
        answer = route.fetch()
        described = answer.json()
        described["bot"]["handoff"] = {"smtp": True, "email": None}
        route.fulfill(response=answer, json=described)

    widget.page.route(re.compile(r"/api/v1/widget\?"), describe)
    widget.page.reload()
    widget.open()


def mail_form(visits: Visits) -> Widget:
    """Written, and on its way with Enter on its button."""
    widget = visits.homepage(bot="shop")
    with_smtp(widget)
    widget.ask("Hello?")
    choose(widget, "email")
    expect(widget.part(".mail input")).to_be_focused()
    widget.part(".mail input").fill("me@home.example")
    widget.action("mail-send").focus()
    return widget


@pytest.mark.parametrize("status", [200, 503])
def test_sending_the_mail_takes_its_time(visits: Visits, status: int) -> None:
    widget = mail_form(visits)
    visits.watch.expect("503")
    with slow(widget.page, HANDOFF) as answer:
        for _ in range(2):  # it is sent once
            widget.page.keyboard.press("Enter")
            answer.arrived(widget.page)
        assert kept(widget) == ("button", "mail-send")
        assert len(answer.routes) == 1
        answer.routes[0].fulfill(
            status=status, json={} if status == 200 else {"error": {"code": "busy", "message": ""}}
        )
        if status == 200:
            expect(widget.part(".side")).to_be_hidden()
            expect(widget.field).to_be_focused()
        else:
            expect(widget.part(".mail .failed")).not_to_be_empty()
            assert kept(widget) == ("button", "mail-send")
            widget.page.keyboard.press("Enter")
            until(lambda: len(answer.routes) == 2, widget.page)
            answer.routes[1].fulfill(json={})
            expect(widget.field).to_be_focused()


def test_a_mail_that_is_sent_closes_nothing_that_was_opened_since(visits: Visits) -> None:
    widget = mail_form(visits)
    with slow(widget.page, HANDOFF) as answer:
        widget.page.keyboard.press("Enter")
        answer.arrived(widget.page)
        press_escape(widget)
        choose(widget, "delete")
        expect(widget.action("keep")).to_be_focused()
        answer.routes[0].fulfill(json={})
        expect(widget.part(".status")).not_to_be_empty()
        expect(widget.part(".side")).to_be_visible()
        expect(widget.action("keep")).to_be_focused()


def test_a_mail_that_is_sent_leaves_a_visitor_on_the_page_alone(visits: Visits) -> None:
    widget = mail_form(visits)
    with slow(widget.page, HANDOFF) as answer:
        widget.page.keyboard.press("Enter")
        answer.arrived(widget.page)
        widget.page.locator("#own").focus()
        answer.routes[0].fulfill(json={})
        expect(widget.part(".side")).to_be_hidden()
        expect(widget.page.locator("#own")).to_be_focused()


@pytest.mark.parametrize("opened", ["menu", "history", "email", "delete"])
def test_on_a_phone_the_way_back_leads_to_what_there_is_to_read(visits: Visits, opened: str) -> None:
    """No keyboard pops up over it, and the focus is not on something that is hidden."""
    phone = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
    widget = visits.homepage(bot="shop", context=phone).open()
    assert kept(widget) == ("div", "log")
    widget.ask("Hello?")
    widget.part(".menu-button").click()
    if opened != "menu":
        widget.action(opened, ".menu").click()
        expect(widget.part(".log")).to_be_hidden()
        frames(widget)
    press_escape(widget)
    assert kept(widget)[1] == ("menu" if opened == "menu" else "log")


@pytest.mark.parametrize("opened", ["history", "email", "delete"])
def test_what_was_open_when_the_panel_was_closed_gets_the_focus_again(visits: Visits, opened: str) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    choose(widget, opened)
    first = {"history": "back", "email": "mail-open", "delete": "keep"}[opened]
    expect(widget.action(first)).to_be_focused()
    widget.launcher.click()
    expect(widget.panel).to_be_hidden()
    widget.launcher.click()
    expect(widget.panel).to_be_visible()
    expect(widget.action(first)).to_be_focused()
