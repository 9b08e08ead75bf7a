"""What stays when the visitor leaves, and what goes when it is to go."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Visits
from tests.browser.stage import Stage
from tests.browser.widget import PATIENCE_MS, until
from tests.doubles.koboldcpp import KoboldcppDouble


def test_a_conversation_is_there_again_after_a_reload(stage: Stage, visits: Visits, engine: KoboldcppDouble) -> None:
    engine.reply = ("**Lamps**", " we have.")
    widget = visits.homepage(bot="shop").open()
    widget.ask("What do you sell?")
    widget.action("up", ".message.bot").click()
    expect(widget.action("up", ".message.bot")).to_have_attribute("aria-pressed", "true")
    before, shown = widget.message_id(), widget.text.inner_html()
    token = widget.remembered()["token"]
    widget.page.reload()
    widget.open()
    expect(widget.questions).to_have_text(["What do you sell?"])
    expect(widget.answers).to_have_text(["Lamps we have."])
    expect(widget.part(".greeting")).to_have_count(1)
    expect(widget.part(".quick")).to_be_hidden()
    assert (widget.message_id(), widget.text.inner_html()) == (before, shown)
    expect(widget.action("up", ".message.bot")).to_have_attribute("aria-pressed", "true")
    assert widget.remembered()["token"] == token, "a token that is still good was bought again"
    # And it goes on in the same conversation.
    widget.ask("And bulbs?")
    assert len(stage.messages(widget.token(), widget.conversation("shop"))) == 4


def test_an_answer_goes_on_after_a_reload_in_its_middle(stage: Stage, visits: Visits, slow: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    widget.write("Tell me everything.")
    widget.reaches("streaming")
    expect(widget.text).to_contain_text("word8", timeout=PATIENCE_MS)
    widget.page.reload()
    widget.open()
    slow.slot.token_delay = 0.0
    widget.reaches("done")
    shown = widget.text.inner_text()
    assert stage.messages(widget.token(), widget.conversation())[-1]["text"] == shown
    assert shown.startswith("word0 word1 word2 ")
    expect(widget.answers).to_have_count(1)


def test_two_pages_of_one_visitor_share_the_conversation(stage: Stage, visits: Visits) -> None:
    first = visits.homepage().open()
    first.ask("One?")
    second = visits.homepage(page=first.page.context.new_page()).open()
    expect(second.questions).to_have_text(["One?"])


def test_a_new_conversation_begins_empty_and_the_old_one_can_be_opened_again(stage: Stage, visits: Visits) -> None:
    widget = visits.homepage(bot="shop").open()
    widget.ask("First subject?")
    widget.choose("new")
    expect(widget.questions).to_have_count(0)
    expect(widget.part(".greeting")).to_have_count(1)
    expect(widget.part(".quick")).to_be_visible()
    expect(widget.field).to_be_focused()
    widget.ask("Second subject?")
    widget.choose("history")
    entries = widget.part(".history button[data-id]")
    expect(entries).to_have_count(2)
    expect(entries.first).to_contain_text("Second subject?")
    expect(entries.first).to_have_attribute("aria-current", "true")
    entries.last.click()
    expect(widget.questions).to_have_text(["First subject?"])
    widget.ask("More of the first?")
    assert len(stage.messages(widget.token(), widget.conversation("shop"))) == 4
    # A new conversation that was begun and not used is forgotten by a reload.
    widget.choose("new")
    widget.page.reload()
    widget.open()
    expect(widget.questions).to_have_count(0)


def test_history_off_leaves_nothing_behind(stage: Stage, visits: Visits) -> None:
    widget = visits.homepage(history="off", bot="careful")
    widget.launcher.click()
    widget.action("agree").click()
    widget.ask("Hello?")
    widget.action("up", ".message.bot").click()
    page = widget.page
    kept = page.evaluate(
        "async () => [localStorage.length, sessionStorage.length, document.cookie,"
        " (await indexedDB.databases()).length, (await caches.keys()).length]"
    )
    assert kept == [0, 0, "", 0, 0]
    assert page.context.cookies() == []
    page.reload()
    widget.launcher.click()
    expect(widget.action("agree")).to_be_visible()
    expect(widget.questions).to_have_count(0)


def test_a_page_without_storage_works_all_the_same(visits: Visits) -> None:
    """As with storage switched off, or in a sandboxed frame."""
    page = visits.page()
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } });"
    )
    widget = visits.homepage(page=page).open()
    widget.ask("Hello?")
    widget.ask("Again?")
    expect(widget.questions).to_have_count(2)


def test_a_spoilt_memory_does_not_break_the_widget(stage: Stage, visits: Visits) -> None:
    widget = visits.homepage()
    for spoilt in (
        "[[[",
        "null",
        "7",
        '{"token": 5, "conversations": "x"}',
        '{"token": {"token": "kv_x", "until": 9e15}}',
    ):
        widget.page.evaluate(
            "([key, text]) => localStorage.setItem(key, text)", [f"chat-widget:{stage.site_key}", spoilt]
        )
        visits.watch.expect("Failed to load resource.*(401|403)")
        widget.page.reload()
        widget.open()
        assert widget.ask("Hello?") == "Hello there.", spoilt


def test_a_conversation_that_is_gone_makes_room_for_a_new_one(stage: Stage, visits: Visits) -> None:
    widget = visits.homepage().open()
    widget.ask("Hello?")
    gone = f"{stage.server}/api/v1/conversations/{widget.conversation()}"
    assert stage.visitor(widget.token()).delete(gone, timeout=10).ok
    visits.watch.expect("Failed to load resource.*404")
    widget.page.reload()
    widget.open()
    assert widget.ask("Are you there?") == "Hello there."
    expect(widget.questions).to_have_text(["Are you there?"])


def test_a_conversation_deleted_elsewhere_while_it_is_open_is_told(stage: Stage, visits: Visits) -> None:
    widget = visits.homepage().open()
    widget.ask("Hello?")
    gone = f"{stage.server}/api/v1/conversations/{widget.conversation()}"
    assert stage.visitor(widget.token()).delete(gone, timeout=10).ok
    visits.watch.expect("Failed to load resource.*404")
    widget.write("Are you there?")
    widget.reaches("error", "done")
    if widget.answer.get_attribute("data-state") == "error":
        assert widget.answer.locator(".note").inner_text()
        widget.choose("new")
        assert widget.ask("And now?") == "Hello there."


def test_deleting_everything_asks_first_and_means_it(stage: Stage, visits: Visits) -> None:
    widget = visits.homepage().open()
    widget.ask("My secret.")
    widget.choose("delete")
    expect(widget.action("keep")).to_be_focused()
    widget.action("keep").click()
    expect(widget.questions).to_have_text(["My secret."])
    conversation, token = widget.conversation(), widget.token()
    widget.choose("delete")
    widget.action("delete-all").click()
    expect(widget.questions).to_have_count(0)
    expect(widget.part(".status")).to_have_text("All your conversations are deleted.")
    session = stage.visitor(token)
    assert session.get(f"{stage.server}/api/v1/conversations", timeout=10).json()["conversations"] == []
    assert session.get(f"{stage.server}/api/v1/conversations/{conversation}", timeout=10).status_code == 404
    widget.ask("A new secret.")


def test_deleting_everything_ends_a_running_answer_too(stage: Stage, visits: Visits, slow: KoboldcppDouble) -> None:
    widget = visits.homepage().open()
    widget.write("Tell me everything.")
    widget.reaches("streaming")
    widget.choose("delete")
    widget.action("delete-all").click()
    expect(widget.answers).to_have_count(0)
    until(lambda: stage.idle() and not slow.slot.busy, widget.page, 5)
    token = widget.token()
    listed = stage.visitor(token).get(f"{stage.server}/api/v1/conversations", timeout=10).json()
    assert listed["conversations"] == []


def test_nobody_sees_another_visitors_conversations(stage: Stage, visits: Visits) -> None:
    first, second = visits.homepage().open(), visits.homepage().open()
    first.ask("Mine alone.")
    second.ask("Hello?")
    second.choose("history")
    expect(second.part(".history button[data-id]")).to_have_count(1)
    foreign = f"{stage.server}/api/v1/conversations/{first.conversation()}"
    assert stage.visitor(second.token()).get(foreign, timeout=10).status_code == 404
