"""The console's pages of things (keys, bots, knowledge, models) in a real browser, over real services and real data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from scripts.lib.native import NativeStack
from tests.browser.keyboard import tab_to
from tests.browser.stage import BOTS, UNLIMITED
from tests.browser.watched import Watch
from tests.doubles.koboldcpp import KoboldcppDouble
from tests.integration.proxy.conftest import until
from tests.integration.proxy.console.owner import Owner, running_console
from tests.integration.proxy.knowledge.sites import page, shop
from tests.integration.proxy.knowledge.worker_process import working
from tests.unit.proxy.adapters.crawled_site import Site

GUIDE = b"# Guide\n\n## Fog\n\nIn fog the horn sounds every forty seconds.\n"
# One page that has gone, one that is broken.
START = page("Lighthouse shop", "We sell lamps for keepers.", "/hours", "/returns", "/old", "/gone", "/broken")
SIZE = {"width": 1280, "height": 900}
# Colours and window of each look.
LOOKS: dict[str, tuple[str, dict[str, int]]] = {
    "light": ("light", SIZE),
    "dark": ("dark", SIZE),
    "phone": ("light", {"width": 320, "height": 640}),
}


@dataclass
class Desk:
    """The running console; `site` and `guide` are the pages of a website and a file that have been read."""

    url: str
    browser: Browser
    owner: Owner
    site: str
    guide: str


class Visit:
    """A browser in front of it, logged in and watched."""

    def __init__(self, desk: Desk, **options: Any) -> None:
        context = desk.browser.new_context(**{"viewport": SIZE, **options})
        context.add_cookies([{"name": "console", "value": desk.owner.cookie, "url": desk.url}])
        self.watch, self.page, self.desk = Watch(context, (f"{desk.url}/",)), context.new_page(), desk

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.desk.url}{path}")
        return self.page

    def tab_to(self, name: str) -> None:
        """See tests.browser.keyboard."""
        tab_to(self.page, name)


@pytest.fixture(scope="module")
def desk(
    native: NativeStack, browser: Browser, _engine: KoboldcppDouble, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    bots = folder / "own-bots"
    bots.mkdir()
    for name, text in {**BOTS, "broken": "name: Broken\nmode: loud\nmax_tokens: many\n"}.items():
        (bots / f"{name}.yaml").write_text(text)
    settings = {
        "ENGINE_API": "koboldcpp",
        "ENGINE_URL": _engine.url,
        "ENGINE_SLOTS": "1",
        "PROMPT_FORMAT": "raw",
        "BOTS_DIR": str(bots),
        **UNLIMITED,
    }
    with (
        working(native, tmp_path_factory.mktemp("worker")),
        running_console(native, folder, **settings) as (_, url),
        Site({**shop(), "/": START, "/broken": (500, {}, b"")}) as site,
    ):
        owner = Owner(url)
        owner.send("/keys", {"name": "Customer portal", "scopes": ["chat"], "days": "90", "streams": "4"})
        owner.send("/keys/sites", {"name": "Homepage", "origins": "https://shop.example\nhttps://www.shop.example"})
        guide = owner.send("/knowledge/files", {"collection": "warden"}, files={"file": ("guide.md", GUIDE)}).url
        fields = {"url": f"{site.url}/", "collection": "warden", "rate": "0", "allow_private": site.authority}
        website = owner.send("/knowledge/websites", {**fields, "every_hours": "24"}).url
        paths = [url.removeprefix(owner.url).partition("?")[0] for url in (website, guide)]
        for path in paths:
            until(lambda path=path: ":</strong> done" in owner.page(path), 60)  # type: ignore[misc]
        until(lambda: "being read" not in owner.page("/models"), 60)
        yield Desk(url, browser, owner, *paths)


@pytest.fixture
def visit(desk: Desk, engine: KoboldcppDouble) -> Iterator[Visit]:
    visited = Visit(desk)
    try:
        yield visited
        visited.watch.check()
    finally:
        visited.watch.context.close()
