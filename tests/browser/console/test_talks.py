"""The console's door, first page, conversations and audit in a real browser: axe finds nothing, keys are enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.core.types import Conversation, Feedback, Message, Source, Usage, new_id, now
from scripts.lib.native import ROOT, NativeStack
from tests.bench import talks
from tests.browser import axe
from tests.browser.keyboard import tab_to
from tests.browser.watched import Watch
from tests.browser.widget import until
from tests.doubles.koboldcpp import KoboldcppDouble
from tests.integration.proxy.console.conftest import PASSWORD, command

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> **bold**"
LOOKS: dict[str, tuple[str, dict[str, int]]] = {
    "light": ("light", {"width": 1280, "height": 900}),
    "dark": ("dark", {"width": 1280, "height": 900}),
    "phone": ("light", {"width": 320, "height": 640}),
}


@dataclass
class Archive:
    """The running console over a filled database; `hostile` is a conversation with a hostile visitor and model."""

    stack: NativeStack
    browser: Browser
    history: MongoHistory
    hostile: Conversation
    answer: str


@pytest.fixture(scope="module")
def archive(browser: Browser, _engine: KoboldcppDouble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    stack = NativeStack(tmp_path_factory.mktemp("archive"), ROOT / "models" / "none.gguf", with_proxy=True)
    try:
        stack.start("mongo")
        password = stack.mongo_password_file.read_text().strip()
        database = Database(stack.mongo_url, "chatbot", user="chatproxy", password=password)
        (stack.data / "words").mkdir()
        talks.fill(database, 120, 1200, minutes_of_days=3)
        history = MongoHistory(database)
        hostile, answer = _hostile(history)
        stack.configure("proxy", ENGINE_API="koboldcpp", ENGINE_URL=_engine.url, PROMPT_FORMAT="raw")
        stack.start("proxy")
        made = command(stack, "admins", "put", "--name=anna", "--password-stdin", given=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        yield Archive(stack, browser, history, hostile, answer)
    finally:
        stack.close()


def _hostile(history: MongoHistory) -> tuple[Conversation, str]:
    where = Conversation(new_id(), "key:abc/user:0123456789", "guide", HOSTILE[:80], now(), now(), 30)
    question = Message(new_id(), where.id, "user", f"{HOSTILE} unheard-of", now())
    source = Source(1, HOSTILE, "javascript:document.title='owned'", HOSTILE)
    text = f"{HOSTILE} ![x](https://evil.example/x.png) [link](javascript:alert(1))\n\n# Heading\n\n- one\n- two"
    answer = Message(new_id(), where.id, "assistant", text, now(), "complete", "stop", Usage(10, 20), None, (source,))
    history.begin(where, [question, answer], new=True)
    history.finish(answer)
    history.rate(where.owner, answer.id, Feedback("down", HOSTILE))
    return where, answer.id


class Visit:
    """A browser in front of it, watched."""

    def __init__(self, archive: Archive, **options: Any) -> None:
        options.setdefault("viewport", LOOKS["light"][1])
        self.url = archive.stack.console_url
        context = archive.browser.new_context(**options)
        self.watch, self.page = Watch(context, (f"{self.url}/",)), context.new_page()

    def log_in(self) -> Page:
        self.page.goto(f"{self.url}/login")
        self.page.get_by_label("Name").fill("anna")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("heading", name="Today", level=1)).to_be_visible()
        return self.page

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.url}{path}")
        return self.page


@pytest.fixture
def visit(archive: Archive) -> Iterator[Visit]:
    visited = Visit(archive)
    try:
        yield visited
        visited.watch.check()
    finally:
        visited.watch.context.close()


def _paths(archive: Archive) -> dict[str, str]:
    where = archive.hostile.id
    return {
        "today": "/",
        "today-hour": "/?span=hour",
        "conversations": "/conversations",
        "conversations-found": "/conversations?text=warranty",
        "conversations-rated": "/conversations?rating=bad",
        "conversations-refused": "/conversations?from=tomorrow",
        "conversation": f"/conversations/{where}",
        "conversation-wrong": f"/conversations/{where}/wrong/{archive.answer}",
        "rules": "/conversations/rules",
        "audit": "/audit",
        "nothing": "/nothing",
    }


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_on_any_page(archive: Archive, artifacts: Path, look: str) -> None:
    scheme, viewport = LOOKS[look]
    visited = Visit(archive, color_scheme=scheme, viewport=viewport)
    try:
        page = visited.go("/login")
        found = axe.violations(page, f"console-login-{look}", artifacts, own_page=True)
        page.screenshot(path=artifacts / f"console-login-{look}.png")
        visited.log_in()
        for name, path in _paths(archive).items():
            visited.go(path)
            for part in page.locator("details").all():
                part.evaluate("each => { each.open = true; }")
            page.screenshot(path=artifacts / f"console-{name}-{look}.png", full_page=True)
            found += axe.violations(page, f"console-{name}-{look}", artifacts, own_page=True)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{name} has to be scrolled sideways at {viewport['width']} px"
        assert found == []
    finally:
        visited.watch.context.close()


def test_what_visitors_and_models_write_does_nothing(archive: Archive, visit: Visit) -> None:
    page = visit.log_in()
    for name, path in _paths(archive).items():
        if name not in ("nothing", "conversations-refused"):
            visit.go(path)
            assert page.title() != "owned"
            assert page.locator("main img, main script, main [onerror], main a[href^='javascript']").count() == 0


def test_the_keyboard_alone_gets_in_finds_reads_and_out(visit: Visit) -> None:
    page = visit.go("/login")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Today", level=1)).to_be_visible()
    tab_to(page, "Conversations")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Conversations", level=1)).to_be_visible()
    tab_to(page, "text")
    page.keyboard.type("unheard-of")
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="Messages").get_by_role("listitem")).to_have_count(1)
    tab_to(page, "<script>")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Answer")).to_be_visible()
    tab_to(page, "Log out")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Log in", level=1)).to_be_visible()


def _sure(page: Page, sure: bool) -> None:
    """What is said to the next question; the watch takes questions for somebody else's code otherwise."""
    page.evaluate("sure => { window.confirm = (text) => text.length > 10 && sure; }", sure)


def test_a_wrong_answer_is_put_right(archive: Archive, visit: Visit) -> None:
    page = visit.log_in()
    visit.go(f"/conversations/{archive.hostile.id}")
    page.get_by_role("link", name="This answer was wrong").click()
    page.get_by_label("Phrases").fill("unheard-of lamp")
    page.get_by_label("The answer", exact=True).fill("It costs 30 euros.")
    page.get_by_role("button", name="Make the rule").click()
    expect(page.get_by_role("status")).to_contain_text("The rule is made.")
    visit.go("/conversations/rules")
    _sure(page, True)
    page.get_by_role("row", name="unheard-of lamp").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("status")).to_contain_text("The rule is removed.")


def test_a_conversation_is_deleted_once_its_owner_is_sure(archive: Archive, visit: Visit) -> None:
    where = Conversation(new_id(), "key:1", "guide", "To be deleted", now(), now())
    archive.history.begin(where, [Message(new_id(), where.id, "user", "To be deleted", now())], new=True)
    page = visit.log_in()
    visit.go(f"/conversations/{where.id}")
    _sure(page, False)
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("heading", name="To be deleted", level=1)).to_be_visible()
    _sure(page, True)
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("The conversation is deleted.")


def test_the_first_page_keeps_itself_fresh_without_keeping_the_session_alive(visit: Visit) -> None:
    page = visit.log_in()
    with page.expect_request(lambda request: "console-refresh" in request.headers, timeout=15_000):
        pass
    expect(page.get_by_role("heading", name="Model")).to_be_visible()


def test_what_keeps_itself_fresh_is_not_exchanged_under_somebodys_hands(visit: Visit) -> None:
    """Who comes to it while the fetched one is on its way keeps the focus; afterwards it goes on being fetched."""
    page = visit.log_in()
    held: list[Route] = []
    page.route(f"{visit.url}/", lambda route: held.append(route))
    until(lambda: held, page, 15)
    # Whatever of it can have the focus.
    page.evaluate("() => { const it = document.querySelector('#now *'); it.tabIndex = 0; it.focus(); it.id = 'mine'; }")
    with page.expect_response(f"{visit.url}/"):
        held[0].continue_()
    page.wait_for_timeout(200)
    expect(page.locator("#mine")).to_be_focused()
    page.evaluate("() => document.activeElement.blur()")
    page.unroute(f"{visit.url}/")
    expect(page.locator("#mine")).to_have_count(0, timeout=30_000)
