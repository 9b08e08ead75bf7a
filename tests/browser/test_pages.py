"""The appliance's own pages: /chat, /demo and /embed."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Visits
from tests.browser.stage import BOTS, Stage
from tests.browser.widget import Widget
from tests.doubles.koboldcpp import KoboldcppDouble


def _chat(stage: Stage, visits: Visits, query: str = "", width: int = 1280, height: int = 800) -> Widget:
    page = visits.page(viewport={"width": width, "height": height})
    page.goto(f"{stage.server}/chat{query}")
    widget = Widget(page)
    widget.panel.wait_for()
    return widget


def test_the_chat_page_has_list_and_bots_beside_the_conversation(stage: Stage, visits: Visits) -> None:
    widget = _chat(stage, visits)
    choice = widget.part(".bots select")
    expect(choice.locator("option")).to_have_count(len(BOTS))
    expect(widget.part(".title")).to_have_text("Assistant")
    widget.ask("First?")
    entries = widget.part(".history button[data-id]")
    expect(entries).to_have_count(1)
    choice.select_option("shop")
    expect(widget.part(".title")).to_have_text("Lamp shop")
    expect(widget.part(".greeting")).to_be_visible()
    expect(widget.questions).to_have_count(0)
    widget.ask("Second?")
    expect(entries).to_have_count(2)
    # The list leads back to the other bot's conversation.
    entries.filter(has_text="First?").click()
    expect(widget.questions).to_have_text(["First?"])
    expect(choice).to_have_value("assistant")
    widget.ask("More of the first?")
    assert len(stage.messages(widget.token(), widget.conversation())) == 4


def test_the_chat_page_fits_320_pixels(stage: Stage, visits: Visits, engine: KoboldcppDouble) -> None:
    engine.reply = [
        "| a | b | c | d |\n|---|---|---|---|\n",
        "| " + "long " * 20 + "| x | y | z |\n\n",
        "```\n" + "x" * 200 + "\n```",
    ]
    widget = _chat(stage, visits, width=320, height=568)
    widget.ask("A table?")
    assert widget.page.evaluate("() => document.documentElement.scrollWidth") <= 320
    expect(widget.field).to_be_in_viewport()
    expect(widget.part(".bots select")).to_be_in_viewport()
    widget.part(".bots select").select_option("shop")
    expect(widget.part(".title")).to_have_text("Lamp shop")
    widget.ask("And here?")
    widget.choose("history")
    expect(widget.part(".history button[data-id]")).to_have_count(2)
    widget.part(".history button[data-id]").last.click()
    expect(widget.questions).to_have_text(["A table?"])
    assert widget.page.evaluate("() => document.documentElement.scrollWidth") <= 320


def test_the_chat_page_can_begin_with_a_bot_and_remembers_its_conversation(stage: Stage, visits: Visits) -> None:
    widget = _chat(stage, visits, "?bot=shop")
    expect(widget.part(".title")).to_have_text("Lamp shop")
    widget.ask("Where is it?")
    widget.page.reload()
    expect(widget.questions).to_have_text(["Where is it?"])
    expect(widget.part(".history button[data-id]")).to_have_count(1)


def test_a_bot_that_does_not_exist_is_told_in_words(stage: Stage, visits: Visits) -> None:
    page = visits.page()
    visits.watch.expect("404|not_found")
    page.goto(f"{stage.server}/chat?bot=nobody")
    widget = Widget(page)
    expect(widget.part(".status")).not_to_be_empty()
    expect(widget.field).to_be_hidden()


def test_a_hostile_bot_name_in_the_address_stays_a_name(stage: Stage, visits: Visits) -> None:
    page = visits.page()
    visits.watch.expect("400|404|not_found|invalid_request")
    page.goto(f'{stage.server}/chat?bot="><img src=x onerror=alert(1)>')
    page.wait_for_timeout(300)
    assert page.locator("img").count() == 0


def test_the_page_allows_no_foreign_code_and_no_frames(stage: Stage, visits: Visits) -> None:
    page = visits.page()
    response = page.goto(f"{stage.server}/chat")
    assert response
    policy = response.headers["content-security-policy"]
    for part in (
        "default-src 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "base-uri 'none'",
    ):
        assert part in policy
    visits.watch.expect("policy broken|violates|Refused|TrustedScript")
    ran = page.evaluate(
        """() => new Promise((resolve) => {
          window.hit = false;
          const script = document.createElement('script');
          try { script.textContent = 'window.hit = true'; document.body.append(script); } catch {}
          setTimeout(() => resolve(window.hit), 100);
        })"""
    )
    assert ran is False


def test_the_demo_page_shows_the_widget_as_on_a_site(stage: Stage, visits: Visits) -> None:
    page = visits.page()
    page.goto(f"{stage.server}/demo?bot=shop")
    widget = Widget(page)
    widget.open()
    assert widget.ask("Where is it?") == "Hello there."
    expect(page.locator("pre").first).to_contain_text(f'src="{stage.server}/widget.js"')


def test_the_demo_page_of_a_site_key(stage: Stage, visits: Visits) -> None:
    page = visits.page()
    page.goto(f"{stage.server}/demo?bot=shop&site_key={stage.site_key}")
    assert Widget(page).open().ask("Where is it?") == "Hello there."
    expect(page.locator("pre").first).to_contain_text(stage.site_key)


def test_stop_and_new_while_an_answer_comes(stage: Stage, visits: Visits, slow: KoboldcppDouble) -> None:
    """Going to another conversation in the middle of an answer does not mix the two."""
    widget = _chat(stage, visits)
    widget.write("Tell me everything.")
    widget.reaches("streaming")
    widget.part(".history [data-action=new]").click()
    expect(widget.answers).to_have_count(0)
    widget.page.wait_for_timeout(300)
    expect(widget.answers).to_have_count(0)
    slow.reply, slow.slot.token_delay = ("Fresh", "."), 0.0
    assert widget.ask("Something else?") == "Fresh."
    assert len(stage.messages(widget.token(), widget.conversation())) == 2
