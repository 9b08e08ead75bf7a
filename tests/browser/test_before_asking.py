"""What stands before a question: consent, the longest message; and handing over to people."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

from playwright.sync_api import Route, expect

from tests.browser.conftest import Visits
from tests.browser.stage import Stage
from tests.browser.widget import Widget


def _calls(visits: Visits) -> list[str]:
    """Requests that tell the server of a visitor."""
    return [url for url in visits.watch.requests if "/api/" in url and "/api/v1/widget?" not in url]


def test_nothing_is_sent_before_consent(visits: Visits) -> None:
    widget = visits.homepage(bot="careful")
    widget.launcher.click()
    expect(widget.part(".consent")).to_contain_text("What you write is kept for 30 days.")
    expect(widget.field).to_be_hidden()
    expect(widget.action("agree")).to_be_focused()
    widget.page.evaluate("() => ChatWidget.ask('Too early?')")
    widget.page.wait_for_timeout(300)
    assert _calls(visits) == []
    expect(widget.questions).to_have_count(0)
    widget.action("agree").click()
    expect(widget.part(".consent")).to_be_hidden()
    expect(widget.field).to_be_focused()
    expect(widget.field).to_have_value("Too early?")
    widget.ask("Hello?")
    widget.page.reload()
    widget.open()
    expect(widget.action("agree")).to_be_hidden()


def test_other_words_are_asked_for_anew(visits: Visits) -> None:
    widget = visits.homepage(bot="careful")
    widget.launcher.click()
    widget.action("agree").click()
    changed = visits.homepage(bot="careful", consent="What you write is kept for 90 days.")
    changed.launcher.click()
    expect(changed.part(".consent p")).to_have_text("What you write is kept for 90 days.")


def test_the_embed_line_can_ask_for_consent_too(visits: Visits) -> None:
    widget = visits.homepage(consent="We <store> this.", quick_replies="A|B")
    widget.launcher.click()
    expect(widget.part(".consent p")).to_have_text("We <store> this.")
    expect(widget.part(".quick")).to_be_hidden()


def test_merely_looking_at_the_chat_makes_nobody_a_visitor(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.page.wait_for_timeout(300)
    assert _calls(visits) == []
    assert widget.page.evaluate("() => localStorage.length") == 0


def test_the_longest_message_is_counted_as_the_server_counts(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    count = widget.part(".composer .count")
    expect(count).to_have_text("0 of 200 characters")
    widget.field.fill("🪔" * 150)
    expect(count).to_have_text("150 of 200 characters")
    widget.field.fill("🪔" * 201)
    expect(count).to_have_text("1 characters too many")
    expect(widget.field).to_have_attribute("aria-invalid", "true")
    widget.field.press("Enter")
    widget.action("send").click()
    expect(widget.questions).to_have_count(0)
    expect(widget.field).to_have_value("🪔" * 201)
    widget.field.fill("🪔" * 200)
    widget.field.press("Enter")
    widget.reaches("done")
    expect(widget.questions.locator(".text")).to_have_text("🪔" * 200)


def _mail_form(visits: Visits) -> Widget:
    widget = visits.homepage(bot="shop").open()
    widget.ask("Where is my lamp?")
    widget.choose("email")
    expect(widget.part(".mail")).to_be_visible()
    return widget


def test_without_a_mail_server_the_visitors_own_program_takes_the_conversation(visits: Visits) -> None:
    widget = _mail_form(visits)
    href = widget.part(".mail a").get_attribute("href") or ""
    parts = urlsplit(href)
    assert (parts.scheme, parts.path) == ("mailto", "help@shop.example")
    fields = parse_qs(parts.query)
    assert fields["subject"] == ["Conversation with Lamp shop"]
    body = unquote(fields["body"][0])
    assert "Where is my lamp?" in body and "Hello there." in body
    expect(widget.action("mail-open")).to_be_focused()
    widget.action("back", ".mail").click()
    expect(widget.questions).to_be_visible()
    expect(widget.field).to_be_focused()


def test_a_long_conversation_fits_the_mail_programs_address_line(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    for n in range(12):
        widget.ask(f"{n}: " + "größe " * 30)
    widget.choose("email")
    href = widget.part(".mail a").get_attribute("href") or ""
    assert len(href) <= 2048
    assert unquote(href).rstrip().endswith("Hello there.")
    assert "left out" in unquote(href)


def test_there_is_nothing_to_hand_over_before_the_first_question(visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.part(".menu-button").click()
    expect(widget.action("new", ".menu")).to_be_visible()
    expect(widget.action("email", ".menu")).to_have_count(0)


def test_the_server_sends_it_where_it_can(stage: Stage, visits: Visits) -> None:
    """The page's half: what it asks the server for. Sending itself is shown in the integration tests."""
    page = visits.page()
    sent = []

    def describe(route: Route) -> None:
        response = route.fetch()
        told = response.json()
        told["bot"]["handoff"]["smtp"] = True
        route.fulfill(response=response, json=told)

    def handoff(route: Route) -> None:
        sent.append(route.request.post_data_json)
        if len(sent) == 1:
            error = {"error": {"code": "mail_failed", "message": "no"}}
            route.fulfill(status=502, json=error, headers={"Access-Control-Allow-Origin": "*"})
        else:
            route.fulfill(status=202, json={"sent": True}, headers={"Access-Control-Allow-Origin": "*"})

    page.route("**/api/v1/widget?*", describe)
    page.route("**/handoff", handoff)
    visits.watch.expect("Failed to load resource.*502")
    widget = visits.homepage(page=page, bot="shop").open()
    widget.ask("Where is my lamp?")
    widget.choose("email")
    widget.part(".mail [type=email]").fill("no address")
    widget.action("mail-send").click()
    assert sent == [], "the browser's own check was passed by"
    widget.part(".mail [type=email]").fill("ann@example.com")
    widget.part(".mail textarea").fill("It is urgent.")
    widget.action("mail-send").click()
    expect(widget.part(".mail .failed")).to_contain_text("could not be sent")
    expect(widget.part(".mail textarea")).to_have_value("It is urgent.")
    widget.action("mail-send").click()
    expect(widget.part(".status")).to_contain_text("Sent.")
    assert sent == [{"email": "ann@example.com", "note": "It is urgent."}] * 2
    expect(widget.questions).to_be_visible()
