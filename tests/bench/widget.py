"""The chat widget in a real Chromium: how much it loads, how soon it is there, how soon it speaks, how smooth it stays.

Starts are paired: in each round every widget is opened once in a fresh browser profile (nothing cached), in turn. All
are served from loopback, so times are what the browser itself has to do; sizes are of gzip at level 6 (Caddy's own
compression is of that kind), file by file, of all that was loaded until the visitor could type.

Named baselines: two public widgets, see other_widgets.py; for the first word, the proxy's own first token as a client
without a browser gets it, over the same engine by the clock.
"""

from __future__ import annotations

import contextlib
import gzip
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Response, sync_playwright

from scripts.lib import chromium
from tests.bench import other_widgets
from tests.bench.appliance import proxy, services
from tests.bench.figures import counted, figure, heading, median, pairs
from tests.bench.wire import Wire, is_token
from tests.browser.conftest import ARGUMENTS
from tests.browser.hosts import HostPage, HostSite, embed_line, running_site
from tests.browser.stage import UNLIMITED, site_key
from tests.browser.widget import Widget
from tests.doubles.paced_engine import PacedEngine
from tests.integration.proxy.conftest import Proxy

LONG_ANSWER, RATE = 2000, 200  # tokens, and tokens per second
SHORT_ANSWER = 8
# Milliseconds. Browsers call a task "long" from here on: a key that is pressed meanwhile waits noticeably.
LONG_TASK = 50
_IDLE = 700  # ms between the launcher's appearance and the click: a visitor does not click at once


@dataclass(frozen=True)
class Subject:
    """A page with a widget on it, and JavaScript that finds the launcher and the field."""

    name: str
    url: str
    launcher: str
    field: str


@dataclass(frozen=True)
class Start:
    """Milliseconds from the page's begin to the launcher, and from the click to a field that takes text; bytes."""

    launcher: float
    usable: float
    loaded: int
    first_file: int


_WATCH = """() => {
  const ready = (element) => element && element.checkVisibility() && !element.disabled;
  window.__start = {};
  const forField = () => {
    if (ready(FIELD)) __start.usable = performance.now() - __start.clicked;
    else requestAnimationFrame(forField);
  };
  const forLauncher = () => {
    const launcher = LAUNCHER;
    if (!ready(launcher)) return requestAnimationFrame(forLauncher);
    __start.launcher = performance.now();
    setTimeout(() => {
      __start.clicked = performance.now();
      launcher.click();
      forField();
    }, IDLE);
  };
  requestAnimationFrame(forLauncher);
}"""

# From the key that sends to the first word's paint: the observer hears of it before the paint, the message comes after.
_FIRST_WORD = """() => {
  const root = document.querySelector('chat-widget').shadowRoot;
  const before = root.querySelectorAll('.message.bot').length;
  let sent = null;
  document.addEventListener('keydown', (event) => { if (event.key === 'Enter') sent = performance.now(); },
    {capture: true, once: true});
  window.__firstWord = new Promise((resolve) => {
    const observer = new MutationObserver(() => {
      const answers = root.querySelectorAll('.message.bot');
      if (answers.length <= before || !answers[answers.length - 1].querySelector('.text').textContent) return;
      observer.disconnect();
      const channel = new MessageChannel();
      channel.port1.onmessage = () => resolve(performance.now() - sent);
      channel.port2.postMessage(0);
    });
    observer.observe(root.querySelector('.log'), {subtree: true, childList: true, characterData: true});
  });
}"""

_TASKS = """() => {
  window.__tasks = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) __tasks.push(entry.duration);
  }).observe({type: 'longtask', buffered: false});
}"""


def run() -> None:
    with (
        services("mongo") as stack,
        PacedEngine(first_token_s=0.02, rate=RATE, tokens=LONG_ANSWER) as engine,
        proxy(stack, bots={"short": SHORT_ANSWER, "long": LONG_ANSWER}, ENGINE_URL=engine.url, **UNLIMITED) as ours,
        running_site() as site,
        _browser() as browser,
    ):
        key = site_key(ours, [site.origin()])
        subject = _own(ours, site, key, "short")
        with _others() as others:
            _compare_starts(browser, [subject, *others])
        _first_words(browser, subject, ours)
        _long_answer(browser, _own(ours, site, key, "long"))


@contextlib.contextmanager
def _browser() -> Iterator[Browser]:
    executable = str(chromium.ensure())
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield launched
        launched.close()


def _own(ours: Proxy, site: HostSite, key: str, bot: str) -> Subject:
    page = HostPage(embed_line(ours.url, bot=bot, site_key=key))
    part = "document.querySelector('chat-widget')?.shadowRoot?.querySelector('{}')"
    return Subject("ours", site.serve(page), part.format(".launcher"), part.format(".composer textarea"))


@contextlib.contextmanager
def _others() -> Iterator[list[Subject]]:
    with tempfile.TemporaryDirectory(prefix="widgets-") as folder, contextlib.ExitStack() as opened:
        try:
            url = opened.enter_context(other_widgets.served(Path(folder)))
        except other_widgets.NotThere as error:
            print(f"  other widgets are left out: {error}")
            yield []
            return
        yield [Subject(o.name, f"{url}/{o.folder}.html", o.launcher, o.field) for o in other_widgets.OTHERS]


def _compare_starts(browser: Browser, subjects: list[Subject]) -> None:
    rounds = counted("ROUNDS", 9)
    starts: dict[str, list[Start]] = {subject.name: [] for subject in subjects}
    heading(f"starts, {rounds} rounds in turn, medians")
    _start(browser, subjects[0])  # the browser's own first page
    for number in range(rounds):
        turn = number % len(subjects)
        for subject in subjects[turn:] + subjects[:turn]:
            starts[subject.name].append(_start(browser, subject))
    for name, found in starts.items():
        print(f" {name}")
        if name == "ours":
            figure("loader, gzip", found[0].first_file / 1024, "KiB")
        figure("all that is loaded until one can type, gzip", found[-1].loaded / 1024, "KiB")
        figure("page to launcher", median([start.launcher for start in found]), "ms")
        figure("click to a field that takes text", median([start.usable for start in found]), "ms")


def _start(browser: Browser, subject: Subject) -> Start:
    context = browser.new_context()
    page = context.new_page()
    answered: list[Response] = []
    page.on("response", lambda response: answered.append(response))
    script = _WATCH.replace("LAUNCHER", subject.launcher).replace("FIELD", subject.field).replace("IDLE", str(_IDLE))
    page.add_init_script(f"({script})()")
    page.goto(subject.url)
    page.wait_for_function("() => __start.usable !== undefined", timeout=30_000)
    found: dict[str, float] = page.evaluate("() => __start")
    # The page itself is the host's; everything else came for the widget.
    bodies = [_body(each) for each in answered if each.url != subject.url and not each.url.startswith("data:")]
    context.close()
    sizes = [len(gzip.compress(body, 6)) for body in bodies if body]
    return Start(found["launcher"], found["usable"], sum(sizes), sizes[0])


def _body(response: Response) -> bytes:
    # A preflight's answer has none.
    return b"" if response.request.method == "OPTIONS" or response.status == 204 else response.body()


def _first_words(browser: Browser, subject: Subject, ours: Proxy) -> None:
    """The same question by a client without a browser and by hand, in turn."""
    rounds = counted("ROUNDS", 30)
    heading("sent to first visible word, beside the proxy's own first token")
    widget = _opened(browser, subject)
    _ask(widget, "#warm# Hello?")
    wire = Wire(ours.url, widget.token())
    bare, shown = [], []
    for number in range(rounds):
        body = {"message": f"#r{number}# Hello?", "stream": True, "bot": "short"}
        bare.append(wire.ask("/api/v1/chat", body, is_token).first)
        widget.page.evaluate(_FIRST_WORD)
        _ask(widget, f"#r{number}# Hello?")
        shown.append(float(widget.page.evaluate("() => __firstWord")) / 1000)
    pairs("first token on the wire -> first word on the screen", bare, shown, p50=None, p99=None)
    widget.page.context.close()


def _long_answer(browser: Browser, subject: Subject) -> None:
    heading(f"an answer of {LONG_ANSWER} tokens, {RATE} a second")
    widget = _opened(browser, subject)
    widget.page.evaluate(_TASKS)
    _ask(widget, "#long# Everything, please.", wait_ms=60_000)
    shown = widget.text.inner_text().split()
    if len(shown) != LONG_ANSWER:
        raise RuntimeError(f"{len(shown)} of {LONG_ANSWER} words are shown")
    tasks: list[float] = widget.page.evaluate("() => __tasks")
    figure(f"tasks of {LONG_TASK} ms and more", len(tasks), "", digits=0)
    # What is shorter is not told by browsers.
    figure("longest task of the main thread", max(tasks, default=0.0), "ms", goal=LONG_TASK)
    widget.page.context.close()


def _opened(browser: Browser, subject: Subject) -> Widget:
    page: Page = browser.new_page()
    page.goto(subject.url)
    return Widget(page).open()


def _ask(widget: Widget, text: str, wait_ms: float = 15_000) -> None:
    before: Any = widget.answers.count()
    widget.field.fill(text)
    widget.field.press("Enter")
    widget.answers.nth(before).and_(widget.part("[data-state=done]")).wait_for(timeout=wait_ms)


if __name__ == "__main__":
    run()
