"""The widget as a visitor handles it: by what is seen and can be pressed, never through its code."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

# What an answer may take on a machine that is busy with other tests too.
PATIENCE_MS = 15_000


class Widget:
    """The chat in a page, or in a frame of it. Playwright's selectors look into open shadow roots by themselves."""

    def __init__(self, page: Page, root: Any = None) -> None:
        self.page = page
        self.root = root or page  # a FrameLocator in iframe mode

    def part(self, selector: str) -> Locator:
        found: Locator = self.root.locator(selector)
        return found

    def action(self, name: str, inside: str = "") -> Locator:
        return self.part(f"{inside} [data-action={name}]".strip())

    # --- what is there ------------------------------------------------------------------------------------------------

    @property
    def launcher(self) -> Locator:
        return self.part(".launcher")

    @property
    def panel(self) -> Locator:
        return self.part(".panel")

    @property
    def field(self) -> Locator:
        return self.part(".composer textarea")

    @property
    def questions(self) -> Locator:
        return self.part(".message.user")

    @property
    def answers(self) -> Locator:
        """Answers to questions: a greeting has no id."""
        return self.part(".message.bot:not(.greeting)")

    @property
    def answer(self) -> Locator:
        """The newest one."""
        return self.answers.last

    @property
    def text(self) -> Locator:
        return self.answer.locator(".text")

    def message_id(self) -> str:
        found = self.answer.get_attribute("data-id")
        assert found, "the answer has no id"
        return found

    def remembered(self) -> dict[str, Any]:
        """What the widget has left in the page's storage."""
        own = "Object.keys(localStorage).find((key) => key.startsWith('chat-widget:'))"
        found: dict[str, Any] = self.page.evaluate(f"() => JSON.parse(localStorage[{own}] ?? '{{}}')")
        return found

    def token(self) -> str:
        return str(self.remembered()["token"]["token"])

    def conversation(self, bot: str = "assistant") -> str:
        return str(self.remembered()["conversations"][bot])

    # --- what a visitor does ------------------------------------------------------------------------------------------

    def open(self) -> Widget:
        self.launcher.click()
        expect(self.field).to_be_visible()
        return self

    def write(self, text: str) -> None:
        self.field.fill(text)
        self.action("send", ".composer").click()

    def ask(self, text: str, state: str = "done", patience_ms: float = PATIENCE_MS) -> str:
        """Ask, wait until the answer has this state, and return its text."""
        before = self.answers.count()
        self.write(text)
        expect(self.answers).to_have_count(before + 1, timeout=PATIENCE_MS)
        self.reaches(state, patience_ms=patience_ms)
        return self.text.inner_text()

    def reaches(self, *states: str, patience_ms: float = PATIENCE_MS) -> None:
        """Wait until the newest answer has one of these states."""
        chosen = ",".join(f".message.bot[data-state={state}]" for state in states)
        expect(self.answer.and_(self.part(chosen))).to_be_visible(timeout=patience_ms)

    def choose(self, action: str) -> None:
        """Something of the menu."""
        self.part(".menu-button").click()
        self.action(action, ".menu").click()


def until(condition: Callable[[], object], page: Page, seconds: float = 10) -> None:
    """Wait for something outside of the page, while the page goes on."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        page.wait_for_timeout(25)
