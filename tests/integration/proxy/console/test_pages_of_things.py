"""What the owner does on the console's pages, over mongod, Chroma, the worker and an engine, counts elsewhere too."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Client, Proxy, until
from tests.integration.proxy.console.owner import Owner, running_console
from tests.integration.proxy.knowledge.sites import shop
from tests.integration.proxy.knowledge.worker_process import working
from tests.unit.proxy.adapters.crawled_site import Site

GUIDE = b"# Guide\n\n## Fog\n\nIn fog the horn sounds every forty seconds.\n"
KEEPER = "name: Keeper\nsystem: Answer from the passages.\nsampling: factual\nmax_tokens: 16\nknowledge: [shelf]\n"
STRICT = KEEPER.replace("Keeper", "Strict") + "mode: sources-only\nrefusal: Nothing about this here.\n"


@pytest.fixture(scope="module")
def running(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, str]]:
    folder = tmp_path_factory.mktemp("console")
    with working(native, tmp_path_factory.mktemp("worker")), running_console(native, folder) as running:
        (folder / "bots" / "keeper.yaml").write_text(KEEPER)
        (folder / "bots" / "strict.yaml").write_text(STRICT)
        yield running


@pytest.fixture(scope="module")
def proxy(running: tuple[Proxy, str]) -> Proxy:
    return running[0]


@pytest.fixture
def owner(running: tuple[Proxy, str]) -> Owner:
    return Owner(running[1])


@pytest.fixture(scope="module")
def guide(running: tuple[Proxy, str]) -> str:
    """The page of a file that was given on the console and has been read."""
    owner = Owner(running[1])
    form = {"file": ("guide.md", GUIDE, "text/markdown")}
    taken = owner.send("/knowledge/files", {"collection": "shelf", "language": "en"}, files=form)
    assert "The file is taken in and being read." in taken.text
    where = taken.url.removeprefix(owner.url).partition("?")[0]
    until(lambda: "Reading a file:</strong> done" in owner.page(where), 30)
    return where


def test_a_file_is_given_and_found(owner: Owner, guide: str) -> None:
    assert "guide.md" in owner.page("/knowledge") and "0 errors" not in owner.page(guide)
    asked = {"question": "How often does the horn sound in fog?", "where": "collection:shelf"}
    tried = owner.send("/knowledge/try", asked)
    assert tried.status_code == 200
    assert "What is found" in tried.text and "every forty seconds" in tried.text
    assert re.search(r"Near in meaning: 0\.[0-9]+\..*Shares words: [0-9.]+", tried.text)


def test_what_is_not_there_would_be_refused(owner: Owner, guide: str) -> None:
    tried = owner.send("/knowledge/try", {"question": "Who won the cup in 1998?", "where": "bot:strict"})
    assert "would refuse" in tried.text and "Nothing about this here." in tried.text
    both = {"question": "Who won the cup in 1998?", "left": "strict", "right": "strict"}
    assert "Nothing about this here." in owner.send("/bots/-/try", both).text


def test_a_website_is_read_again_paused_and_removed(owner: Owner) -> None:
    with Site(shop()) as site:
        fields = {"url": f"{site.url}/", "collection": "shelf", "rate": "0", "allow_private": site.authority}
        added = owner.send("/knowledge/websites", fields)
        assert added.status_code == 200, added.text
        where = added.url.removeprefix(owner.url).partition("?")[0]
        until(lambda: "Reading a website:</strong> done" in owner.page(where), 30)
        assert "4 pages read" in owner.page(where)
        asked = {"question": "When is the shop open?", "where": "collection:shelf"}
        assert f"{site.url}/hours" in owner.send("/knowledge/try", asked).text
        owner.send(f"{where}/remove")
        until(lambda: site.url not in owner.page("/knowledge"), 30)
        assert f"{site.url}/hours" not in owner.send("/knowledge/try", asked).text


def test_a_trial_goes_to_the_engine_and_leaves_nothing_behind(owner: Owner, proxy: Proxy, guide: str) -> None:
    question = {"question": "How often does the horn sound in fog?"}
    streamed = owner.send("/bots/-/try/answer", {**question, "bot": "keeper"})
    assert "event: sources" in streamed.text and "event: token" in streamed.text
    done = streamed.text.rpartition("event: done")[2]
    assert '"first_token_s"' in done and '"title":"Guide > Fog"' in done
    plain = owner.send("/bots/-/try", {**question, "left": "keeper", "right": "brief"})
    assert plain.text.count("First token after") == 2
    assert proxy.as_().session.get(f"{proxy.url}/api/v1/conversations", timeout=10).json()["conversations"] == []


def test_limits_and_origins_count_from_the_next_request_on(owner: Owner, proxy: Proxy) -> None:
    made = owner.send("/keys", {"name": "homepage", "scopes": ["chat"]})
    found = re.search(r"kb_([0-9a-f]{16})_[\w-]{43}", made.text)
    assert found
    client = Client(proxy.url, found[0])
    assert client.chat("Hello?").status_code == 200
    owner.send(f"/keys/{found[1]}", {"requests_per_minute": "1"})
    assert [client.chat("Hello?").status_code for _ in range(2)][-1] == 429
    assert "1 questions a minute" in owner.page("/keys")
    owner.send(f"/keys/{found[1]}/revoke")
    assert client.chat("Hello?").status_code == 401

    made = owner.send("/keys/sites", {"name": "shop", "origins": "https://shop.example"})
    site = re.search(r"site_[0-9a-f]{16}", made.text)
    assert site
    visit = {"json": {"site_key": site[0]}, "headers": {"Origin": "https://new.example"}, "timeout": 10}
    assert requests.post(f"{proxy.url}/api/v1/visitors", **visit).status_code == 403  # type: ignore[arg-type]
    owner.send(f"/keys/{site[0]}", {"origins": "https://new.example", "bots": ["keeper"]})
    assert requests.post(f"{proxy.url}/api/v1/visitors", **visit).status_code == 200  # type: ignore[arg-type]


def test_the_loaded_model_is_told_from_its_own_file(owner: Owner) -> None:
    until(lambda: "being read" not in owner.page("/models"), 30)
    text = owner.page("/models")
    assert "SmolLM2 135M Instruct" in text and "llama" in text
    loaded = next(row for row in text.split("<tr>") if "it is loaded" in row)
    assert "8,192" in loaded and ">fits<" in loaded


def test_a_broken_bot_is_told_with_its_line(owner: Owner, proxy: Proxy) -> None:
    bots = Path(proxy.environment["BOTS_DIR"])
    (bots / "broken.yaml").write_text("name: Broken\nmode: loud\n")
    try:
        text = owner.page("/bots")
        assert "broken.yaml" in text and "there is no mode 'loud'" in text
    finally:
        (bots / "broken.yaml").unlink()


def test_no_page_takes_long(owner: Owner, guide: str) -> None:
    for path in ("/keys", "/bots", "/bots/keeper", "/bots/-/try", "/knowledge", guide, "/knowledge/try", "/models"):
        took = []
        for _ in range(3):
            begun = time.monotonic()
            owner.page(path)
            took.append(time.monotonic() - begun)
        assert min(took) < 0.3, f"{path}: {took}"
