"""Bad lines and full houses: what the visitor reads, and that no word is lost or said twice."""

from __future__ import annotations

import itertools
import random

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visits
from tests.browser.stage import Stage, continuing
from tests.browser.widget import PATIENCE_MS, Widget, until
from tests.doubles.koboldcpp import KoboldcppDouble

# Characters of one, two, three and four bytes, and one that is made of several: a cut may fall into any.
_SIGNS = ("lamp", "größe", "灯り", "🪔", "👨‍👩‍👧", "e\u0301", "**x**", "<b>", "שלום")
DROPS, LONG_DROPS = 15, 100
# An answer's stream in bytes, and those at its beginning that hold its head.
_SIZE, _HEAD = 6000, 1000


def _story(chance: random.Random) -> list[str]:
    return [f"{'' if n == 0 else ' '}{chance.choice(_SIGNS)}{n}" for n in range(80)]


def _survives(stage: Stage, widget: Widget, engine: KoboldcppDouble, chance: random.Random, drops: int) -> None:
    """Ask until the line has broken `drops` times; each answer in the end is what is stored."""
    engine.slot.token_delay = 0.004
    before = stage.relay.cuts
    asked = 0
    while stage.relay.cuts - before < drops:
        asked += 1
        story = _story(chance)
        engine.reply = continuing(story)
        stage.relay.cut_after(chance.randrange(_HEAD, _SIZE), away_s=chance.choice((0, 0, 0.1, 0.6)))
        widget.field.fill(f"Story {asked}?")
        widget.field.press("Enter")
        expect(widget.answers).to_have_count(asked, timeout=PATIENCE_MS)
        widget.reaches("done", "error", "interrupted")
        assert widget.answer.get_attribute("data-state") == "done", widget.answer.inner_text()
        stored = stage.messages(widget.token(), widget.conversation())
        assert [message["text"] for message in stored[0::2]] == [f"Story {n + 1}?" for n in range(asked)]
        assert stored[-1]["text"] == "".join(story)
        assert stored[-1]["id"] == widget.message_id()
        shown = widget.text.evaluate("(element) => element.textContent.trim()")
        assert shown == _plain("".join(story))
    stage.relay.mend()


def _plain(text: str) -> str:
    return text.replace("**x**", "x")


def test_no_drop_changes_what_is_said(stage: Stage, visits: Visits, engine: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    visits.watch.expect("Failed to load resource: net::ERR")
    _survives(stage, widget, engine, random.Random(1), DROPS)
    expect(widget.part(".status")).to_have_text("")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_no_drop_changes_what_is_said_in_the_long_run(
    stage: Stage, visits: Visits, engine: KoboldcppDouble, seed: int
) -> None:
    widget = visits.homepage().open()
    visits.watch.expect("Failed to load resource: net::ERR")
    _survives(stage, widget, engine, random.Random(100 + seed), LONG_DROPS // 4)


def test_a_text_that_is_watched_over_a_drop_grows_and_never_jumps_back(
    stage: Stage, visits: Visits, slow: KoboldcppDouble
) -> None:
    widget = visits.homepage().open()
    visits.watch.expect("Failed to load resource: net::ERR")
    widget.write("Tell me.")
    widget.reaches("streaming")
    stage.relay.cut_after(800, away_s=0.3)
    seen = []
    for _ in range(30):
        seen.append(widget.text.evaluate("(element) => element.textContent"))
        widget.page.wait_for_timeout(60)
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen))
    assert stage.relay.cuts == 1
    assert len(seen[-1]) > len(seen[0]) + 100
    assert seen[-1].split() == [f"word{n}" for n in range(len(seen[-1].split()))]
    slow.slot.token_delay = 0
    widget.reaches("done")


def test_a_question_whose_line_broke_before_any_answer_is_asked_once(
    stage: Stage, visits: Visits, engine: KoboldcppDouble
) -> None:
    widget = visits.homepage().open()
    widget.ask("The first?")
    visits.watch.expect("Failed to load resource: net::ERR")
    stage.relay.break_all()  # on a connection that was used before, Chromium itself would ask again
    stage.relay.cut_after(1)
    widget.ask("The second?")
    assert stage.relay.cuts == 1
    stored = stage.messages(widget.token(), widget.conversation())
    assert [message["text"] for message in stored] == ["The first?", "Hello there.", "The second?", "Hello there."]


def test_the_very_first_question_survives_too(stage: Stage, visits: Visits, engine: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    # The token is bought and the preflight is done, but nothing has been asked.
    widget.ask("Nothing.")
    widget.choose("new")
    visits.watch.expect("Failed to load resource: net::ERR")
    stage.relay.break_all()
    stage.relay.cut_after(1)
    assert widget.ask("The first?") == "Hello there."
    assert stage.relay.cuts == 1
    listed = stage.visitor(widget.token()).get(f"{stage.server}/api/v1/conversations", timeout=10).json()
    assert [each["title"] for each in listed["conversations"]] == ["The first?", "Nothing."]


def test_a_question_that_the_browser_itself_repeats_is_asked_once(
    stage: Stage, visits: Visits, engine: KoboldcppDouble
) -> None:
    widget = visits.homepage().open()
    widget.ask("The first?")
    visits.watch.expect("Failed to load resource: net::ERR")
    stage.relay.cut_after(1)
    widget.ask("The second?")
    stored = stage.messages(widget.token(), widget.conversation())
    assert [message["text"] for message in stored] == ["The first?", "Hello there.", "The second?", "Hello there."]


def test_who_is_offline_is_told_and_the_question_waits(stage: Stage, visits: Visits, engine: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    widget.ask("Before.")
    visits.watch.expect("Failed to load resource: net::ERR")
    widget.page.context.set_offline(True)
    expect(widget.part(".status")).to_contain_text("You are offline.")
    widget.write("While away?")
    widget.page.wait_for_timeout(800)
    assert widget.answer.get_attribute("data-state") not in ("done", "error")
    expect(widget.part(".status")).to_contain_text("You are offline.")
    widget.page.context.set_offline(False)
    widget.reaches("done")
    assert widget.text.inner_text() == "Hello there."
    expect(widget.part(".status")).to_have_text("")
    assert len(stage.messages(widget.token(), widget.conversation())) == 4


def test_waiting_for_the_line_can_be_stopped(stage: Stage, visits: Visits, slow: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    visits.watch.expect("Failed to load resource: net::ERR")
    widget.write("Tell me.")
    widget.reaches("streaming")
    stage.relay.down()
    expect(widget.part(".status")).to_contain_text("The connection was lost.")
    widget.action("stop").click()
    widget.reaches("cancelled")
    expect(widget.part(".status")).to_have_text("")
    stage.relay.up()
    slow.reply = ("Fine.",)
    widget.ask("Again?")


def test_a_widget_that_was_loaded_on_a_bad_line_comes_alive(stage: Stage, visits: Visits) -> None:
    """The files came, the description of the bot did not."""
    visits.page()
    visits.watch.expect("Failed to load resource: net::ERR|offline")
    page = visits.watch.context.pages[0]
    page.route("**/api/v1/widget?*", lambda route: route.abort())
    widget = visits.homepage(page=page, bot="shop")
    widget.launcher.wait_for()
    page.unroute_all()
    widget.open()
    expect(widget.part(".title")).to_have_text("Lamp shop")


def test_a_full_queue_says_when_to_come_back_and_retry_works(
    stage: Stage, visits: Visits, engine: KoboldcppDouble
) -> None:
    widget = visits.homepage().open()
    busy = '{"error": {"code": "busy", "message": "The queue is full."}}'
    headers = {"Retry-After": "7", "Access-Control-Expose-Headers": "Retry-After", "Access-Control-Allow-Origin": "*"}
    visits.watch.expect("Failed to load resource.*503")
    widget.page.route(
        "**/api/v1/chat",
        lambda route: route.fulfill(status=503, headers=headers, body=busy, content_type="application/json"),
        times=1,
    )
    widget.ask("Hello?", "error")
    expect(widget.answer.locator(".note")).to_contain_text("busy")
    expect(widget.answer.locator(".note")).to_contain_text("7 s")
    widget.action("retry", ".message.bot").click()
    widget.reaches("done")
    expect(widget.questions).to_have_count(1)


def test_a_used_up_budget_is_told_in_words(stage: Stage, visits: Visits) -> None:
    key = stage.new_site_key([stage.site.origin("shop")], RPM="2")
    widget = visits.homepage(site_key=key).open()
    visits.watch.expect("Failed to load resource.*429")
    widget.ask("One?")
    widget.ask("Two?")
    widget.ask("Three?", "error")
    expect(widget.answer.locator(".note")).to_contain_text("Please try again in")


def test_a_token_that_has_ended_is_renewed_without_a_word(stage: Stage, visits: Visits) -> None:
    widget = visits.homepage().open()
    widget.ask("One?")
    before = widget.token()
    widget.page.evaluate(
        "(key) => { const kept = JSON.parse(localStorage[key]); kept.token.until = Date.now() + 1000;"
        " localStorage[key] = JSON.stringify(kept); }",
        f"chat-widget:{stage.site_key}",
    )
    widget.page.wait_for_timeout(1100)  # tokens tell their second
    widget.ask("Two?")
    assert widget.token() != before
    assert len(stage.messages(widget.token(), widget.conversation())) == 4, "another visitor asked"


def test_a_proxy_that_is_away_for_a_moment_loses_nothing(stage: Stage, visits: Visits, slow: KoboldcppDouble) -> None:
    """As with a restart behind Caddy, which then answers 503 `unavailable`."""
    widget = visits.homepage().open()
    visits.watch.expect("Failed to load resource")
    widget.write("Tell me.")
    widget.reaches("streaming")
    answers = iter(range(2))
    headers = {"Access-Control-Allow-Origin": "*", "Retry-After": "1", "Access-Control-Expose-Headers": "Retry-After"}
    body = '{"error": {"code": "unavailable", "message": "starting"}}'

    def away(route: Route) -> None:
        if next(answers, None) is None:
            route.continue_()
        else:
            route.fulfill(status=503, headers=headers, body=body, content_type="application/json")

    widget.page.route("**/stream", away)
    stage.relay.cut_after(200)
    until(lambda: stage.relay.cuts == 1, widget.page)
    slow.slot.token_delay = 0.005
    widget.reaches("done")
    assert widget.text.inner_text().split() == [f"word{n}" for n in range(200)]
