"""Chromium, the real services behind the widget, and pages that are watched.

Two proxies: `stage` has a double of koboldcpp as its engine, for answers that are long, slow, broken or hostile on
purpose; `conversing` (in test_conversation.py) has llama.cpp with the starter model. All else is real in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from scripts.lib import chromium
from scripts.lib.native import ROOT, NativeStack
from tests.browser.hosts import HostPage, HostSite, embed_line, running_site
from tests.browser.relay import Relay
from tests.browser.stage import Stage, continuing, site_key, staged_proxy, words
from tests.browser.watched import Watch
from tests.browser.widget import Widget
from tests.doubles.koboldcpp import KoboldcppDouble
from tests.integration.proxy.conftest import Proxy

# In containers and as root there is no room for Chromium's own sandbox; the rest keeps it from calling home.
ARGUMENTS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
ARTIFACTS = ROOT / "tests" / "artifacts" / "browser"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = chromium.find()
    assert found, "there is no Chromium here; `make test` installs it"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(found), args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Pictures and reports for people; nothing reads them back."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return ARTIFACTS


@pytest.fixture(scope="session")
def site() -> Iterator[HostSite]:
    with running_site() as running:
        yield running


@pytest.fixture(scope="session")
def _engine() -> Iterator[KoboldcppDouble]:
    with KoboldcppDouble(first_event_delay=0.0) as double:
        _calm(double)
        yield double


@pytest.fixture
def engine(_engine: KoboldcppDouble) -> Iterator[KoboldcppDouble]:
    """The engine behind `stage`: `reply`, `fault` and `slot.token_delay` are a test's own."""
    yield _engine
    _calm(_engine)


def _calm(engine: KoboldcppDouble) -> None:
    engine.fault, engine.reply = None, continuing(("Hello", " there", "."))
    engine.slot.token_delay = engine.slot.first_token_delay = 0.0


@pytest.fixture(scope="session")
def staged(native: NativeStack, _engine: KoboldcppDouble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with staged_proxy(native, tmp_path_factory.mktemp("stage"), _engine) as running:
        yield running


@pytest.fixture(scope="session")
def shop_key(staged: Proxy, site: HostSite) -> str:
    """The site key of shop.localhost, which may use every bot."""
    return site_key(staged, [site.origin("shop")])


@pytest.fixture
def stage(staged: Proxy, site: HostSite, shop_key: str, engine: KoboldcppDouble) -> Iterator[Stage]:
    with Relay(int(staged.url.rpartition(":")[2])) as relay:
        yield Stage(staged, site, relay, shop_key)


class Visits:
    """Opens pages in contexts of their own, each of them watched; `watch` is the newest one's."""

    def __init__(self, browser: Browser, stage: Stage) -> None:
        self._browser, self._stage = browser, stage
        self.watches: list[Watch] = []

    @property
    def watch(self) -> Watch:
        return self.watches[-1]

    def page(self, **options: Any) -> Page:
        """An empty page of a new visitor; `options` are Playwright's for a context."""
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = self._browser.new_context(**options)
        site = self._stage.site
        origins = tuple(f"http://{name}.localhost:{site.port}/" for name in ("shop", "other"))
        self.watches.append(Watch(context, (*origins, f"{self._stage.server}/")))
        return context.new_page()

    def homepage(self, *, host: dict[str, Any] | None = None, name: str = "shop", page: Page | None = None,
                 context: dict[str, Any] | None = None, **attributes: str) -> Widget:  # fmt: skip
        """A homepage with the embed line and these attributes on it; the widget is there, closed."""
        attributes = {"bot": "assistant", "site_key": self._stage.site_key, **attributes}
        embed = embed_line(self._stage.server, **attributes)
        page = page or self.page(**(context or {}))
        page.goto(self._stage.site.serve(HostPage(embed, **(host or {})), name))
        widget = Widget(page)
        widget.launcher.or_(widget.panel).first.wait_for(state="attached")
        return widget

    def close(self) -> None:
        for watch in self.watches:
            watch.context.close()


@contextmanager
def visiting(browser: Browser, stage: Stage) -> Iterator[Visits]:
    """Visits to a stage; at the end nothing may have happened in them that a test did not expect."""
    opened = Visits(browser, stage)
    try:
        yield opened
        for watch in opened.watches:
            watch.check()
    finally:
        opened.close()


@pytest.fixture
def visits(browser: Browser, stage: Stage) -> Iterator[Visits]:
    with visiting(browser, stage) as opened:
        yield opened


@pytest.fixture
def slow(engine: KoboldcppDouble) -> KoboldcppDouble:
    """Answers of 200 words in some six seconds, so that a test can act in the middle."""
    engine.reply, engine.slot.token_delay = continuing(words(200)), 0.03
    return engine
