"""From a website that the worker read to a link that the visitor follows: nothing played but the model's words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from scripts.lib.native import NativeStack
from tests.browser.conftest import Visits
from tests.doubles.koboldcpp import KoboldcppDouble
from tests.integration.proxy.knowledge.sites import add, shop
from tests.integration.proxy.knowledge.worker_process import working
from tests.unit.proxy.adapters.crawled_site import Site

RETURNS = "How long do I have to send a lamp back?"


@pytest.fixture(scope="module")
def read_site(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The lighthouse shop, read into the collection of the bot `keeper`."""
    with Site(shop()) as site, working(native, tmp_path_factory.mktemp("reading")) as worker:
        assert add(worker, site, "keeper")["state"] == "done"
        yield site


def test_a_visitor_follows_a_citation_to_the_page_that_it_stands_on(
    visits: Visits, engine: KoboldcppDouble, read_site: Site
) -> None:
    engine.reply = ("Within thirty days [1].",)
    widget = visits.homepage(bot="keeper").open()
    assert "thirty days [1]" in widget.ask(RETURNS)
    cited, page = widget.text.locator("a"), f"{read_site.url}/returns"
    expect(cited).to_have_attribute("href", page)
    expect(widget.part(".sources a").first).to_have_attribute("href", page)
    widget.page.reload()
    widget.open()
    expect(widget.text.locator("a")).to_have_attribute("href", page)
    visits.watch.expect(f"stranger: GET {page}")
    with widget.page.context.expect_page() as opened:
        widget.text.locator("a").click()
    expect(opened.value.locator("main")).to_contain_text("thirty days for a full refund")


def test_what_the_documents_do_not_hold_is_refused_without_the_model(
    visits: Visits, engine: KoboldcppDouble, read_site: Site
) -> None:
    engine.reply = ("Never said.",)
    widget = visits.homepage(bot="keeper").open()
    assert widget.ask("Who composed the opera Tosca?") == "Nothing about this here."
    expect(widget.part(".sources")).to_have_count(0)
