"""llama.cpp's own page in Chromium, through the proxy: asked, streamed, stopped, reloaded.

The page comes over plain HTTP from a name that is not loopback's, as 10.13.13.1 is not: Chromium then takes away what
it keeps for secure pages (service workers, crypto.randomUUID), and the page has to do without.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from scripts.lib import chromium
from scripts.lib.native import NativeStack
from tests.browser.conftest import ARGUMENTS
from tests.browser.hosts import HostPage, HostSite
from tests.integration.proxy.conftest import STORY, until
from tests.integration.proxy.test_disconnects import engine_is_idle
from tests.integration.proxy.test_engine_ui import Appliance, two_listeners

NAME = "engine.test"


@pytest.fixture(scope="module")
def appliance(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with two_listeners(native, tmp_path_factory.mktemp("engine-ui")) as running:
        yield running


@pytest.fixture
def page(browser: Browser, appliance: Appliance) -> Iterator[Page]:
    arguments = [*ARGUMENTS, f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    launched = browser.browser_type.launch(executable_path=str(chromium.find()), args=arguments)
    opened = launched.new_page()
    opened.goto(appliance.url.replace("127.0.0.1", NAME))
    yield opened
    launched.close()


def ask(page: Page, question: str) -> None:
    box = page.get_by_role("textbox").first
    box.fill(question)
    box.press("Enter")


def test_a_question_is_answered_stopped_and_still_there(
    page: Page, appliance: Appliance, native: NativeStack, artifacts: Path
) -> None:
    assert page.evaluate("!isSecureContext")
    ask(page, STORY)
    stop = page.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_visible(timeout=20_000)
    answer = page.get_by_label("Assistant message").locator(".markdown-content")
    expect(answer).to_contain_text(re.compile(r"\w"), timeout=60_000)
    first = answer.inner_text()
    until(lambda: len(answer.inner_text()) > len(first) + 20, 60)  # it streams
    assert appliance.counts() == (1, 0)
    stop.click()
    until(lambda: engine_is_idle(native) and appliance.counts() == (0, 0))
    expect(stop).to_have_count(0)
    said = answer.inner_text()
    assert len(said) > len(first)
    page.screenshot(path=str(artifacts / "engine-ui.png"))
    page.reload()
    expect(answer).to_contain_text(said[:100])
    expect(page.get_by_text(STORY).first).to_be_visible()
    assert appliance.counts() == (0, 0)


def test_another_sites_page_cannot_use_it(page: Page, appliance: Appliance, site: HostSite) -> None:
    url = f"{appliance.url.replace('127.0.0.1', NAME)}/tokenize"
    send = """url => fetch(url, {method: "POST", mode: "no-cors", body: '{"content": "x"}'}).then(r => r.type)"""
    page.evaluate(send, url)
    page.goto(site.serve(HostPage("")))
    with contextlib.suppress(Error):  # the answer may not be read either
        page.evaluate(send, url)
    found = re.compile(r"POST /tokenize status=(\d+)")
    until(lambda: found.findall(appliance.proxy.log.read_text()) == ["200", "403"])
