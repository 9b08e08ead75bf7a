"""What a page may choose: attributes of the embed line, the script's own API, languages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from scripts.lib.native import ROOT
from tests.browser.conftest import Visits
from tests.browser.hosts import HostPage
from tests.browser.stage import Stage
from tests.browser.widget import PATIENCE_MS, Widget
from tests.doubles.koboldcpp import Fault, KoboldcppDouble

LANGUAGES = ROOT / "proxy" / "chatproxy" / "widget" / "lang"


def _colour(widget: Widget, part: str, name: str = "backgroundColor") -> str:
    return str(widget.part(part).evaluate(f"(element) => getComputedStyle(element).{name}"))


def test_words_of_the_embed_line_win_over_the_bots(visits: Visits) -> None:
    widget = visits.homepage(
        bot="shop",
        title="Ask <us>",
        greeting="Good morning!",
        placeholder="Type here",
        quick_replies="First | Second||",
    ).open()
    expect(widget.part(".title")).to_have_text("Ask <us>")
    expect(widget.part(".greeting")).to_have_text("Good morning!")
    expect(widget.field).to_have_attribute("placeholder", "Type here")
    expect(widget.part(".quick button")).to_have_text(["First", "Second"])


def test_the_bots_own_words_and_colours_hold_otherwise(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    expect(widget.part(".title")).to_have_text("Lamp shop")
    expect(widget.part(".greeting")).to_have_text("Welcome to the lamp shop.")
    expect(widget.part(".quick button")).to_have_text(["Where is my order?", "When are you open?"])
    assert _colour(widget, ".launcher") == "rgb(122, 31, 162)"
    box = widget.launcher.bounding_box()
    assert box and box["x"] < 100, "the bot's theme says left"


def test_a_quick_reply_is_asked_and_then_out_of_the_way(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.part(".quick button").first.click()
    widget.reaches("done")
    expect(widget.questions).to_have_text(["Where is my order?"])
    expect(widget.part(".quick")).to_be_hidden()


def test_colours_and_position_of_the_embed_line(visits: Visits) -> None:
    widget = visits.homepage(accent="#ffee00", position="left", color_scheme="dark").open()
    assert _colour(widget, ".launcher") == "rgb(255, 238, 0)"
    assert _colour(widget, ".launcher", "color") == "rgb(0, 0, 0)", "light on light cannot be read"
    box = widget.launcher.bounding_box()
    assert box and box["x"] < 100
    channels = [int(each) for each in _colour(widget, ".panel").removeprefix("rgb(").rstrip(")").split(",")]
    assert sum(channels) < 200, "dark is dark"


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_without_a_choice_it_follows_the_visitors_system(visits: Visits, scheme: str, dark: bool) -> None:
    widget = visits.homepage(context={"color_scheme": scheme}).open()
    channels = [int(each) for each in _colour(widget, ".panel").removeprefix("rgb(").rstrip(")").split(",")]
    assert (sum(channels) < 380) is dark


@pytest.mark.parametrize("language", sorted(path.stem for path in LANGUAGES.glob("*.json")) or ["none"])
def test_every_language_can_be_chosen(visits: Visits, language: str) -> None:
    texts = json.loads((LANGUAGES / f"{language}.json").read_text())
    widget = visits.homepage(language=language)
    expect(widget.launcher).to_have_attribute("aria-label", texts["open"])
    widget.open()
    expect(widget.field).to_have_attribute("placeholder", texts["placeholder"])
    widget.part(".menu-button").click()
    expect(widget.action("new", ".menu")).to_have_text(texts["new"])
    direction = widget.panel.evaluate("(element) => getComputedStyle(element).direction")
    assert direction == ("rtl" if language in ("ar", "fa", "he") else "ltr")
    assert widget.part(".root").get_attribute("lang") == language


def test_the_language_is_the_pages_then_the_visitors_then_the_bots_first(visits: Visits) -> None:
    def word(**how: Any) -> str | None:
        return visits.homepage(**how).launcher.get_attribute("aria-label")

    said = {name: json.loads((LANGUAGES / f"{name}.json").read_text())["open"] for name in ("en", "de", "fr", "lv")}
    assert word(host={"language": "fr-CA"}) == said["fr"]
    assert word(host={"language": ""}, context={"locale": "lv-LV"}) == said["lv"]
    assert word(host={"language": ""}, context={"locale": "ja-JP"}, bot="polyglot") == said["de"]
    assert word(host={"language": "xx"}, context={"locale": "ja-JP"}) == said["en"]


def test_it_can_be_open_from_the_start(visits: Visits) -> None:
    widget = visits.homepage(open="true")
    expect(widget.field).to_be_visible()
    expect(widget.launcher).to_have_attribute("aria-expanded", "true")


def _listening(page: Page) -> None:
    page.evaluate(
        """() => { window.told = [];
          for (const name of ['open', 'close', 'question', 'answer', 'error'])
            window['off_' + name] = ChatWidget.on(name, (detail) => told.push([name, detail])); }"""
    )


def test_the_page_can_open_close_ask_and_listen(visits: Visits, engine: KoboldcppDouble) -> None:
    widget = visits.homepage()
    page = widget.page
    _listening(page)
    page.evaluate("() => ChatWidget.ask('From the page?')")
    widget.reaches("done")
    expect(widget.questions).to_have_text(["From the page?"])
    page.evaluate("() => ChatWidget.close()")
    expect(widget.panel).to_be_hidden()
    page.evaluate("() => ChatWidget.toggle()")
    expect(widget.panel).to_be_visible()
    page.evaluate("() => ChatWidget.toggle()")
    expect(widget.panel).to_be_hidden()
    told = page.evaluate("() => told")
    assert [name for name, _ in told] == ["open", "question", "answer", "close", "open", "close"]
    assert told[1][1] == {"text": "From the page?"}
    assert told[2][1]["text"] == "Hello there." and told[2][1]["id"] == widget.message_id()


def test_a_listener_can_stop_listening_and_errors_are_told(visits: Visits, engine: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    _listening(widget.page)
    widget.page.evaluate("() => window.off_question()")
    engine.fault = Fault.drop()
    widget.ask("Hello?", "error")
    told = widget.page.evaluate("() => told")
    assert [name for name, _ in told] == ["error"]
    assert told[0][1]["code"] == "engine_error"


def test_calls_that_come_before_it_is_loaded_wait_for_it(stage: Stage, visits: Visits) -> None:
    script = """<script src="{server}/widget.js" data-bot="assistant" data-site-key="{key}"></script>
      <script>window.heard = []; ChatWidget.on('ready', () => heard.push('ready'));
        document.addEventListener('chatwidget:ready', () => heard.push('document'));
        ChatWidget.ask('At once?');</script>"""
    page = visits.page()
    page.goto(stage.site.serve(HostPage(script.format(server=stage.server, key=stage.site_key))))
    widget = Widget(page)
    expect(widget.questions).to_have_text(["At once?"], timeout=PATIENCE_MS)
    widget.reaches("done")
    assert sorted(page.evaluate("() => heard")) == ["document", "ready"]


def test_a_page_cannot_replace_the_api(visits: Visits) -> None:
    widget = visits.homepage()
    assert widget.page.evaluate("() => Object.isFrozen(ChatWidget)")
    assert sorted(widget.page.evaluate("() => Object.keys(ChatWidget)")) == ["ask", "close", "on", "open", "toggle"]
