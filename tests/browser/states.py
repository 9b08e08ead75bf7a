"""The states that a widget can be in, each reached as a visitor would; for axe and for the pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import expect

from tests.browser.conftest import Visits
from tests.browser.stage import words
from tests.browser.widget import Widget
from tests.doubles.koboldcpp import Fault, KoboldcppDouble

ANSWER = (
    "We have **two** kinds:\n\n", "- red ones\n- green ones\n\n", "| lamp | price |\n|---|---|\n| red | 5 |\n\n",
    "```\nlamp --on\n```\n\n", "> quoted\n\nMore on [our page](https://shop.example/).",
)  # fmt: skip


@dataclass(frozen=True)
class State:
    """`reach` brings a closed widget there; `attributes` stand on its embed line."""

    reach: Callable[[Widget, KoboldcppDouble], object]
    attributes: dict[str, Any] = field(default_factory=dict)
    expected: str = ""  # what the console says of it


def _done(widget: Widget, engine: KoboldcppDouble) -> None:
    engine.reply = ANSWER
    widget.open().ask("What do you have?")


def _streaming(widget: Widget, engine: KoboldcppDouble) -> None:
    engine.reply, engine.slot.token_delay = words(300), 0.03
    widget.open().write("Tell me everything.")
    widget.reaches("streaming")
    expect(widget.text).to_contain_text("word3")


def _failed(widget: Widget, engine: KoboldcppDouble) -> None:
    engine.fault = Fault.drop()
    widget.open().ask("Are you there?", "error")


def _interrupted(widget: Widget, engine: KoboldcppDouble) -> None:
    engine.reply, engine.fault = words(20), Fault.drop(5)
    engine.slot.token_delay = 0.01
    widget.open().ask("Count.", "interrupted")


def _queued(widget: Widget, engine: KoboldcppDouble) -> None:
    """Behind another visitor (without a memory each page is one), who keeps the engine's only slot."""
    engine.reply, engine.slot.token_delay = words(300), 0.03
    widget.open().write("Tell me everything.")
    widget.reaches("streaming")
    second = Widget(widget.page.context.new_page())
    second.page.goto(widget.page.url)
    second.open().write("And me.")
    second.reaches("queued")
    widget.page.close()
    widget.page = widget.root = second.page


def _busy(widget: Widget, engine: KoboldcppDouble) -> None:
    told: dict[str, Any] = {"error": {"code": "busy", "message": "full"}}
    headers = {"Retry-After": "7", "Access-Control-Expose-Headers": "Retry-After", "Access-Control-Allow-Origin": "*"}
    widget.page.route("**/api/v1/chat", lambda route: route.fulfill(status=503, json=told, headers=headers))
    widget.open().ask("Hello?", "error")


def _offline(widget: Widget, engine: KoboldcppDouble) -> None:
    widget.open().ask("Hello?")
    widget.page.context.set_offline(True)
    expect(widget.part(".status")).not_to_be_empty()


def _menu(widget: Widget, engine: KoboldcppDouble) -> None:
    widget.open().ask("Hello?")
    widget.part(".menu-button").click()


def _history(widget: Widget, engine: KoboldcppDouble) -> None:
    widget.open().ask("First?")
    widget.choose("new")
    widget.ask("Second?")
    widget.choose("history")
    expect(widget.part(".history button[data-id]")).to_have_count(2)


def _chosen(action: str, part: str) -> Callable[[Widget, KoboldcppDouble], None]:
    def reach(widget: Widget, engine: KoboldcppDouble) -> None:
        widget.open().ask("Hello?")
        widget.choose(action)
        expect(widget.part(part)).to_be_visible()

    return reach


def _comment(widget: Widget, engine: KoboldcppDouble) -> None:
    widget.open().ask("Good?")
    widget.action("down", ".message.bot").click()
    expect(widget.part(".comment textarea")).to_be_visible()


def _editing(widget: Widget, engine: KoboldcppDouble) -> None:
    widget.open().ask("One?")
    widget.action("edit").click()


def _too_long(widget: Widget, engine: KoboldcppDouble) -> None:
    widget.open().field.fill("x" * 300)


STATES: dict[str, State] = {
    "closed": State(lambda widget, engine: None),
    "empty": State(lambda widget, engine: widget.open(), {"bot": "shop"}),
    "consent": State(lambda widget, engine: widget.launcher.click(), {"bot": "careful"}),
    "queued": State(_queued, {"history": "off"}),
    "streaming": State(_streaming),
    "done": State(_done),
    "error": State(_failed),
    "interrupted": State(_interrupted),
    "busy": State(_busy, expected="Failed to load resource.*503"),
    "offline": State(_offline),
    "menu": State(_menu, {"bot": "shop"}),
    "history": State(_history),
    "mail": State(_chosen("email", ".mail"), {"bot": "shop"}),
    "delete": State(_chosen("delete", ".side")),
    "comment": State(_comment),
    "editing": State(_editing),
    "too long": State(_too_long, {"bot": "shop"}),
}


@dataclass(frozen=True)
class Look:
    """How the page is seen: Playwright's options of a context, the host page's, and attributes of the embed line."""

    context: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


def _window(width: int, height: int, **more: Any) -> dict[str, Any]:
    return {"viewport": {"width": width, "height": height}, **more}


LOOKS: dict[str, Look] = {
    "light": Look({"color_scheme": "light"}),
    "dark": Look({"color_scheme": "dark"}),
    "rtl": Look(host={"direction": "rtl", "language": "ar"}),
    "phone": Look(_window(320, 568)),
    # 1280 x 1024 at 400 %, as WCAG 1.4.10 has it.
    "zoomed": Look(_window(320, 256)),
    "contrast": Look({"forced_colors": "active", "reduced_motion": "reduce"}),
}


def show(visits: Visits, engine: KoboldcppDouble, state: str, look: str) -> Widget:
    """A widget in that state, seen that way."""
    chosen, seen = STATES[state], LOOKS[look]
    page = visits.page(**{"reduced_motion": "reduce", **seen.context})
    if chosen.expected:
        visits.watch.expect(chosen.expected)
    if state == "offline":
        visits.watch.expect("ERR_INTERNET_DISCONNECTED")
    widget = visits.homepage(page=page, host=seen.host, **{**seen.attributes, **chosen.attributes})
    chosen.reach(widget, engine)
    return widget
