"""axe finds nothing in any state; what a screen reader is told, once; names, roles and motion."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import axe
from tests.browser.conftest import Visits
from tests.browser.hosts import HOSTILE_STYLE
from tests.browser.stage import Stage, words
from tests.browser.states import LOOKS, STATES, show
from tests.browser.widget import PATIENCE_MS, Widget
from tests.doubles.koboldcpp import Fault, KoboldcppDouble

# Every state as most people see it; of the other looks those where the look changes the state's own parts.
_MAIN = [("light", state) for state in STATES]
_OTHERS = {
    "dark": ("empty", "consent", "streaming", "done", "error", "history", "mail", "comment"),
    "rtl": ("empty", "done", "menu"),
    "phone": ("closed", "done", "menu", "mail"),
    "zoomed": ("empty", "done", "consent"),
    "contrast": ("done",),
}
CASES = _MAIN + [(look, state) for look, states in _OTHERS.items() for state in states]


@pytest.mark.parametrize(("look", "state"), CASES, ids=[f"{look}-{state}" for look, state in CASES])
def test_axe_finds_nothing(visits: Visits, engine: KoboldcppDouble, artifacts: Path, look: str, state: str) -> None:
    widget = show(visits, engine, state, look)
    name = f"{state.replace(' ', '-')}-{look}"
    widget.page.screenshot(path=artifacts / f"{name}.png")
    assert axe.violations(widget.page, name, artifacts) == []


@pytest.mark.long
@pytest.mark.parametrize("look", [look for look in LOOKS if look != "light"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_in_any_look(
    visits: Visits, engine: KoboldcppDouble, artifacts: Path, look: str, state: str
) -> None:
    widget = show(visits, engine, state, look)
    name = f"{state.replace(' ', '-')}-{look}"
    widget.page.screenshot(path=artifacts / f"{name}.png")
    assert axe.violations(widget.page, name, artifacts) == []


def test_under_a_hostile_style_sheet_too(visits: Visits, engine: KoboldcppDouble, artifacts: Path) -> None:
    widget = visits.homepage(host={"style": HOSTILE_STYLE}).open()
    widget.ask("Hello?")
    widget.page.screenshot(path=artifacts / "done-hostile.png")
    assert axe.violations(widget.page, "done-hostile", artifacts) == []


@pytest.mark.parametrize("look", ["light", "dark", "phone", "zoomed"])
def test_the_page_of_its_own(stage: Stage, visits: Visits, artifacts: Path, look: str) -> None:
    page = visits.page(**LOOKS[look].context)
    page.goto(f"{stage.server}/chat?bot=shop")
    widget = Widget(page)
    expect(widget.field).to_be_visible()
    assert axe.violations(page, f"chat-empty-{look}", artifacts, own_page=True) == []
    widget.ask("Hello?")
    page.screenshot(path=artifacts / f"chat-{look}.png")
    assert axe.violations(page, f"chat-{look}", artifacts, own_page=True) == []


def test_the_demo_page(stage: Stage, visits: Visits, artifacts: Path) -> None:
    page = visits.page()
    page.goto(f"{stage.server}/demo")
    Widget(page).open()
    page.screenshot(path=artifacts / "demo.png")
    assert axe.violations(page, "demo", artifacts, own_page=True) == []


_LISTEN = """() => {
  const region = document.querySelector('chat-widget').shadowRoot.querySelector('.announce');
  window.said = [];
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) said.push(node.textContent);
  }).observe(region, {childList: true, subtree: true, characterData: true});
}"""


def test_a_screen_reader_gets_each_answer_once_and_whole(visits: Visits, engine: KoboldcppDouble) -> None:
    engine.reply, engine.slot.token_delay = ["**Red**", *(f" {n}" for n in words(30)), " end."], 0.01
    widget = visits.homepage().open()
    region = widget.part(".announce")
    expect(region).to_have_attribute("aria-live", "polite")
    expect(widget.part(".log")).to_have_attribute("aria-live", "off")
    widget.page.evaluate(_LISTEN)
    for number in (1, 2):
        shown = widget.ask("Which?")
        widget.page.wait_for_timeout(200)
        said = widget.page.evaluate("() => said")
        assert len(said) == number, said
        assert " ".join(shown.split()) in " ".join(said[-1].split()) and "**" not in said[-1]
    # Nothing else speaks at the same time.
    live = widget.page.evaluate(
        "() => [...document.querySelector('chat-widget').shadowRoot.querySelectorAll('[aria-live], [role=alert],"
        " [role=status]')].filter((each) => each.ariaLive !== 'off').map((each) => each.textContent)"
    )
    assert sum("end." in text for text in live) == 1


def test_what_went_wrong_is_said_too(visits: Visits, engine: KoboldcppDouble) -> None:
    engine.fault = Fault.drop()
    widget = visits.homepage().open()
    widget.page.evaluate(_LISTEN)
    widget.ask("Hello?", "error")
    expect(widget.part(".announce")).to_contain_text("No answer could be made.")
    assert len(widget.page.evaluate("() => said")) == 1


def test_names_and_roles(visits: Visits) -> None:
    widget = visits.homepage(bot="shop")
    page = widget.page
    page.get_by_role("button", name="Open chat", expanded=False).click()
    dialog = page.get_by_role("dialog", name="Lamp shop")
    expect(dialog).to_be_visible()
    expect(dialog).not_to_have_attribute("aria-modal", "true")
    dialog.get_by_role("textbox", name="Write a message").fill("Hello?")
    dialog.get_by_role("button", name="Send").click()
    log = dialog.get_by_role("log", name="Conversation")
    expect(log.get_by_role("article", name="You")).to_have_text("Hello?")
    expect(log.get_by_role("article", name="Lamp shop").last).to_contain_text("Hello there.")
    for name in ("Copy", "Answer again", "Good answer", "Bad answer"):
        expect(log.get_by_role("button", name=name, exact=True).last).to_be_visible()
    expect(page.get_by_role("button", name="Close chat").first).to_be_visible()


def test_targets_are_large_enough(visits: Visits, engine: KoboldcppDouble) -> None:
    """WCAG 2.5.8: 24 x 24 CSS pixels."""
    widget = visits.homepage(bot="shop").open()
    widget.ask("Hello?")
    for box in (button.bounding_box() for button in widget.part(".panel button:visible").all()):
        assert box and box["width"] >= 24 and box["height"] >= 24, box


@pytest.mark.parametrize(("motion", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_those_who_want_it_still(visits: Visits, motion: str, moves: bool) -> None:
    widget = visits.homepage(context={"reduced_motion": motion})
    widget.page.evaluate("() => ChatWidget.open()")
    widget.panel.wait_for()
    style = "(element) => { const s = getComputedStyle(element); return [s.animationName, s.transitionDuration]; }"
    everything = widget.page.evaluate(
        f"""() => [...document.querySelector('chat-widget').shadowRoot.querySelectorAll('*')].map({style})"""
    )
    moving = [each for each in everything if each[0] != "none" or each[1] not in ("", "0s")]
    assert bool(moving) is moves


@pytest.mark.parametrize("look", ["phone", "zoomed"])
def test_a_small_window_scrolls_in_one_direction_only(visits: Visits, engine: KoboldcppDouble, look: str) -> None:
    widget = show(visits, engine, "done", look)
    wide = widget.page.evaluate(
        "() => [document.documentElement.scrollWidth, ...[...document.querySelector('chat-widget').shadowRoot"
        ".querySelectorAll('.panel, .log, header, .composer')].map((each) => each.scrollWidth)]"
    )
    assert max(wide) <= 320, wide
    widget.field.scroll_into_view_if_needed()
    expect(widget.field).to_be_in_viewport(timeout=PATIENCE_MS)
    expect(widget.action("close", "header")).to_be_attached()
