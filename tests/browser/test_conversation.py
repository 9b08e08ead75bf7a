"""A real conversation: llama.cpp with the starter model behind the widget, nothing played."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, expect

from scripts.lib.native import NativeStack
from tests.browser.conftest import Visits, visiting
from tests.browser.hosts import HostSite
from tests.browser.relay import Relay
from tests.browser.stage import Stage, site_key
from tests.browser.widget import PATIENCE_MS, Widget, until
from tests.integration.proxy.conftest import Proxy, running_proxy

# What an answer of the model's may take on a machine that is busy with other tests too.
MODEL_MS = 60_000


@pytest.fixture(scope="module")
def conversing(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_proxy(native, tmp_path_factory.mktemp("conversing")) as running:
        yield running


@pytest.fixture
def real(conversing: Proxy, site: HostSite) -> Iterator[Stage]:
    with Relay(int(conversing.url.rpartition(":")[2])) as relay:
        yield Stage(conversing, site, relay, site_key(conversing, [site.origin("shop")]))


@pytest.fixture
def guests(browser: Browser, real: Stage) -> Iterator[Visits]:
    with visiting(browser, real) as opened:
        yield opened


def _engine_is_idle(native: NativeStack) -> bool:
    slots = requests.get(f"{native.engine_url}/slots", timeout=10).json()
    return not any(slot["is_processing"] for slot in slots)


def test_a_visitor_talks_with_the_model(real: Stage, guests: Visits) -> None:
    widget = guests.homepage(bot="brief").open()
    first = widget.ask("Say hello in one short sentence.", patience_ms=MODEL_MS)
    assert first
    second = widget.ask("And goodbye?", patience_ms=MODEL_MS)
    stored = [message["text"] for message in real.messages(widget.token(), widget.conversation("brief"))]
    assert stored[0::2] == ["Say hello in one short sentence.", "And goodbye?"]
    assert len(stored) == 4 and stored[1].split()[0] in first and stored[3].split()[0] in second
    widget.page.reload()
    widget.open()
    expect(widget.answers).to_have_count(2)


def test_the_models_words_come_one_by_one_and_stop_frees_the_engine(
    real: Stage, guests: Visits, native: NativeStack
) -> None:
    widget = guests.homepage(bot="assistant").open()
    widget.write("Write a very long story about a lighthouse keeper. Use at least two thousand words.")
    widget.reaches("streaming")
    lengths: set[int] = set()

    def grown() -> bool:
        lengths.add(len(widget.text.inner_text()))
        return len(lengths) >= 4

    until(grown, widget.page, 20)
    assert not _engine_is_idle(native)
    widget.action("stop").click()
    widget.reaches("cancelled")
    until(lambda: _engine_is_idle(native), widget.page, 3)
    stored = real.messages(widget.token(), widget.conversation())[-1]
    assert stored["text"] and stored["text"].split()[:5] == widget.text.inner_text().split()[:5]


def test_a_drop_in_the_models_answer_is_healed(real: Stage, guests: Visits) -> None:
    widget = guests.homepage(bot="steady").open()
    guests.watch.expect("Failed to load resource: net::ERR")
    real.relay.cut_after(1500, away_s=0.2)
    widget.write("Tell me a story about the sea.")
    expect(widget.answers).to_have_count(1, timeout=PATIENCE_MS)
    widget.reaches("done", patience_ms=MODEL_MS)
    assert real.relay.cuts == 1
    shown = widget.text.evaluate("(element) => element.textContent")
    stored = real.messages(widget.token(), widget.conversation("steady"))[-1]["text"]
    assert "".join(stored.split())[:60] == "".join(shown.split())[:60]
    assert abs(len(stored) - len(shown)) < 40  # Markdown's own signs


def test_the_chat_page_talks_with_the_model_too(real: Stage, guests: Visits) -> None:
    page = guests.page()
    page.goto(f"{real.server}/chat?bot=brief")
    assert Widget(page).ask("Say hello.", patience_ms=MODEL_MS)
