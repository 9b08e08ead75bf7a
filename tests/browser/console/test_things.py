"""Keys, bots, knowledge and models as the owner sees them: axe finds nothing, the keyboard is enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import axe
from tests.browser.console.things import LOOKS, Desk, Visit
from tests.browser.stage import continuing, words
from tests.browser.widget import PATIENCE_MS
from tests.doubles.koboldcpp import KoboldcppDouble

pytest_plugins = ["tests.browser.console.things"]


def _asked(page: Page) -> None:
    page.get_by_label("Question").fill("How often does the horn sound in fog?")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("every forty seconds")).to_be_visible()


def _refused(page: Page) -> None:
    page.get_by_label("Question").fill("Who won the cup in 1998?")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("would refuse")).to_be_visible()


def _tried(page: Page) -> None:
    page.get_by_label("Question").fill("How often does the horn sound in fog?")
    page.get_by_label("Bot on the right").select_option("warden")
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_text("all after")).to_have_count(2)


def _checked(page: Page) -> None:
    page.get_by_label("The file's text").fill("name: Desk\nmode: loud\nsampling: wild\n")
    page.get_by_role("button", name="Check it").click()
    expect(page.get_by_text("This file would not be taken.")).to_be_visible()


def _good(page: Page) -> None:
    page.get_by_label("The file's text").fill("name: Desk\nsystem: Help.\nmode: sources-only\nknowledge: [nothing]\n")
    page.get_by_role("button", name="Check it").click()
    expect(page.get_by_text("This file is good.")).to_be_visible()


def _making(page: Page) -> None:
    for name in ("Make an API key", "Make a site key"):
        page.get_by_text(name, exact=True).click()


def _made(page: Page) -> None:
    page.get_by_text("Make an API key", exact=True).click()
    page.get_by_label("What it is for").first.fill("A test")
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_text("It is shown only now")).to_be_visible()


def _adding(page: Page) -> None:
    for name in ("A website", "What of it, and how fast", "A file"):
        page.get_by_text(name, exact=True).click()


STATES: dict[str, tuple[str, Callable[[Page], None] | None]] = {
    "keys": ("/keys", None),
    "keys-making": ("/keys", _making),
    "key-made": ("/keys", _made),
    "bots": ("/bots", None),
    "bot": ("/bots/warden", None),
    "bot-checked": ("/bots/-/check", _checked),
    "bot-good": ("/bots/-/check", _good),
    "bot-tried": ("/bots/-/try", _tried),
    "knowledge": ("/knowledge", None),
    "knowledge-adding": ("/knowledge", _adding),
    "knowledge-found": ("/knowledge/try?bot=warden", _asked),
    "knowledge-refused": ("/knowledge/try?bot=warden", _refused),
    "source": ("SITE", None),
    "models": ("/models", None),
}


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(visit: Visit, artifacts: Path, state: str) -> None:
    path, reach = STATES[state]
    page = visit.go(visit.desk.site if path == "SITE" else path)
    if reach:
        reach(page)
    for look, (colours, size) in LOOKS.items():
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]
        page.screenshot(path=artifacts / f"console-{state}-{look}.png", full_page=True)
        assert axe.violations(page, f"console-{state}-{look}", artifacts, own_page=True) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"


def test_answers_stream_into_two_columns(visit: Visit, engine: KoboldcppDouble) -> None:
    engine.reply, engine.slot.token_delay = continuing(words(60)), 0.02
    page = visit.go("/bots/-/try")
    page.get_by_label("Question").fill("Count.")
    page.keyboard.press("Tab")
    visit.tab_to("Ask both")
    page.keyboard.press("Enter")
    # There is one place at the engine: whichever comes second sees where it stands.
    expect(page.get_by_text("number 1 in the queue")).to_have_count(1, timeout=PATIENCE_MS)
    expect(page.get_by_text("word3")).to_have_count(1, timeout=PATIENCE_MS)
    expect(page.get_by_text("waiting in the queue included")).to_have_count(1, timeout=PATIENCE_MS)
    expect(page.get_by_text("word59")).to_have_count(2, timeout=PATIENCE_MS)
    assert page.evaluate("document.activeElement.textContent") == "Ask both"


def test_a_trial_that_is_stopped_frees_the_engine(visit: Visit, engine: KoboldcppDouble) -> None:
    engine.reply, engine.slot.token_delay = continuing(words(2000)), 0.05
    page = visit.go("/bots/-/try")
    page.get_by_label("Question").fill("Count.")
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_text("word3")).to_have_count(1, timeout=PATIENCE_MS)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.")).to_have_count(2, timeout=PATIENCE_MS)
    engine.reply, engine.slot.token_delay = continuing(("Free", " again.")), 0.0
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_text("Free again.")).to_have_count(2, timeout=PATIENCE_MS)


def test_a_key_is_made_copied_and_revoked_with_the_keyboard(visit: Visit) -> None:
    page = visit.go("/keys")
    visit.tab_to("Make an API key")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("By keyboard")
    visit.tab_to("Make the key")
    page.keyboard.press("Enter")
    expect(page.get_by_text("It is shown only now")).to_be_visible()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.tab_to("Copy")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#key").inner_text()

    page = visit.go("/keys")
    row = page.get_by_role("row").filter(has_text="By keyboard")
    # The traps of `watched` stand for the browser's own question here.
    page.evaluate("() => { window.confirm = () => false }")
    row.get_by_role("button", name="Revoke").press("Enter")
    expect(row).to_contain_text("works")
    page.evaluate("() => { window.confirm = (asked) => asked.includes('By keyboard') }")
    row.get_by_role("button", name="Revoke").press("Enter")
    expect(page.get_by_text("The key is revoked")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="By keyboard")).to_contain_text("revoked")


def test_limits_are_changed_and_a_mistake_is_told(visit: Visit) -> None:
    page = visit.go("/keys")
    page.get_by_role("link", name="Change Customer portal").click()
    page.get_by_label("Questions per minute").fill("sixty")
    page.get_by_role("button", name="Change its limits").click()
    expect(page.get_by_role("alert")).to_contain_text("must be a whole number, not 'sixty'")
    visit.watch.expect("400")
    page.get_by_label("Questions per minute").fill("60")
    page.get_by_role("button", name="Change its limits").click()
    expect(page.get_by_role("status")).to_contain_text("The key is changed")
    expect(visit.go("/keys").get_by_role("row").filter(has_text="Customer portal")).to_contain_text(
        "60 questions a minute"
    )


def test_an_upload_is_watched_until_it_is_done(visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "tides.md"
    file.write_text("# Tides\n\nHigh water comes twice a day.\n")
    page = visit.go("/knowledge")
    page.get_by_text("A file", exact=True).click()
    page.get_by_label("File").first.set_input_files(file)
    page.get_by_role("button", name="Take the file in").click()
    expect(page.get_by_role("heading", name="tides.md")).to_be_visible()
    # The page keeps itself fresh: nobody loads it again.
    expect(page.locator("#job")).to_contain_text("done", timeout=PATIENCE_MS)
    expect(page.locator("#job")).to_contain_text("1 page read")


def test_a_source_is_removed_only_when_one_is_sure(visit: Visit, desk: Desk) -> None:
    page = visit.go(desk.guide)
    page.evaluate("() => { window.confirm = () => false }")
    page.get_by_role("button", name="Remove it").click()
    assert page.url.endswith(desk.guide)
    assert "guide.md" in desk.owner.page(desk.guide)


def test_without_scripts_both_answers_are_shown_at_once(desk: Desk, engine: KoboldcppDouble) -> None:
    visit = Visit(desk, java_script_enabled=False)
    page = visit.go("/bots/-/try?bot=shop")
    page.get_by_label("Question").fill("Hello?")
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_text("Hello there.")).to_have_count(2)
    expect(page.get_by_text("First token after")).to_have_count(2)
    visit.watch.context.close()
