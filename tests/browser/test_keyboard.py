"""A whole conversation with Tab, Enter and Escape alone; where the focus goes and comes back to."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visits
from tests.browser.keyboard import FOCUSED, focused, kept
from tests.browser.stage import Stage
from tests.browser.widget import Widget
from tests.doubles.koboldcpp import KoboldcppDouble


def _tab_to(widget: Widget, which: str, backwards: bool = False) -> None:
    """Press Tab until that action or class has the focus."""
    seen = []
    for _ in range(40):
        widget.page.keyboard.press("Shift+Tab" if backwards else "Tab")
        seen.append(focused(widget)[1])
        if which in seen[-1].split():
            return
    raise AssertionError(f"{which} cannot be reached; passed by {seen}")


def test_a_conversation_without_a_mouse(stage: Stage, visits: Visits) -> None:
    widget = visits.homepage(bot="shop")
    keyboard = widget.page.keyboard
    _tab_to(widget, "launcher")
    keyboard.press("Enter")
    expect(widget.field).to_be_focused()
    keyboard.type("Where is my lamp?")
    keyboard.press("Enter")
    widget.reaches("done")
    expect(widget.field).to_be_focused()
    _tab_to(widget, "up", backwards=True)
    keyboard.press("Enter")
    expect(widget.action("up", ".message.bot")).to_have_attribute("aria-pressed", "true")
    expect(widget.action("up", ".message.bot")).to_be_focused()
    widget.page.keyboard.press("Tab")  # the other thumb
    widget.page.keyboard.press("Tab")
    expect(widget.part(".comment textarea")).to_be_focused()
    keyboard.type("Quick.")
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(widget.part(".comment")).to_have_count(0)
    expect(widget.action("up", ".message.bot")).to_be_focused()
    stored = stage.messages(widget.token(), widget.conversation("shop"))[-1]["feedback"]
    assert stored == {"rating": "up", "comment": "Quick."}
    _tab_to(widget, "menu", backwards=True)
    keyboard.press("Enter")
    assert focused(widget)[1] == "new"
    keyboard.press("Escape")
    expect(widget.part(".menu")).to_be_hidden()
    expect(widget.part(".menu-button")).to_be_focused()
    keyboard.press("Enter")
    keyboard.press("Enter")
    expect(widget.questions).to_have_count(0)
    expect(widget.field).to_be_focused()
    keyboard.press("Escape")
    expect(widget.panel).to_be_hidden()
    expect(widget.launcher).to_be_focused()


def test_the_focus_goes_from_top_to_bottom_and_out_again(visits: Visits) -> None:
    widget = visits.homepage(bot="shop", host={"body": "<a href='#a' id='before'>before</a>"}).open()
    widget.ask("Hello?")
    widget.page.locator("#before").focus()
    order: list[str] = []
    passed: list[tuple[str, str, str]] = []
    for _ in range(30):
        widget.page.keyboard.press("Tab")
        name, which, place = widget.page.evaluate(FOCUSED)
        if name == "body" or which == "before":
            break
        order.append(which)
        passed.append((name, which, place))
    assert len(set(passed)) == len(passed), f"something was passed twice: {order}"
    wanted = ["menu", "close", "log", "edit", "retry", "up", "down", "send", "launcher"]
    places = [order.index(name) for name in wanted]
    assert places == sorted(places), order


def test_on_a_phone_the_focus_stays_inside(visits: Visits) -> None:
    widget = visits.homepage(context={"viewport": {"width": 360, "height": 640}}).open()
    expect(widget.panel).to_have_attribute("aria-modal", "true")
    for key in ("Tab", "Shift+Tab"):
        seen = set()
        for _ in range(14):
            widget.page.keyboard.press(key)
            name, which = focused(widget)
            assert name != "body" and which != "own", f"{key} left the panel"
            seen.add(which)
        assert len(seen) >= 4, f"{key} moves between {seen} only"


OPENED = {
    "menu": ".menu [data-action=new]",
    "history": ".history [data-action=back]",
    "email": ".mail [data-action=mail-open]",
    "delete": ".side [data-action=keep]",
    "edit": ".composer textarea",
}


@pytest.mark.parametrize("opened", OPENED)
def test_escape_leaves_one_thing_at_a_time(visits: Visits, opened: str) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    if opened == "menu":
        widget.part(".menu-button").click()
    elif opened == "edit":
        widget.action("edit").click()
    else:
        widget.choose(opened)
    expect(widget.part(OPENED[opened])).to_be_focused()
    widget.page.keyboard.press("Escape")
    expect(widget.panel).to_be_visible()
    expect(widget.part(".log")).to_be_visible()
    expect(widget.part(".menu")).to_be_hidden()
    kept(widget)
    widget.page.keyboard.press("Escape")
    expect(widget.panel).to_be_hidden()
    expect(widget.launcher).to_be_focused()


def test_the_focus_survives_what_is_pressed(visits: Visits) -> None:
    """A button that goes away must not take the focus with it."""
    widget = visits.homepage(bot="shop").open()
    widget.part(".quick button").first.focus()
    widget.page.keyboard.press("Enter")
    widget.reaches("done")
    assert focused(widget)[0] != "body"
    widget.action("retry", ".message.bot").focus()
    widget.page.keyboard.press("Enter")
    widget.reaches("done")
    assert focused(widget)[0] != "body"
    widget.choose("new")
    assert focused(widget)[0] == "textarea"


def test_a_running_answer_can_be_stopped_from_the_keyboard(visits: Visits, slow: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    widget.field.fill("Tell me.")
    widget.page.keyboard.press("Enter")
    widget.reaches("streaming")
    _tab_to(widget, "stop")
    widget.page.keyboard.press("Enter")
    widget.reaches("cancelled")


def test_the_mouse_can_close_it_and_the_page_gets_its_focus_back(visits: Visits) -> None:
    widget = visits.homepage()
    widget.page.locator("#own").focus()
    widget.page.evaluate("() => ChatWidget.open()")
    expect(widget.field).to_be_focused()
    widget.page.evaluate("() => ChatWidget.close()")
    expect(widget.panel).to_be_hidden()
    assert focused(widget)[0] != "body", "closed by script, the focus fell to the page's start"
