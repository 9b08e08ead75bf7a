"""The composed worker: files and a website become answers with sources, also behind crashes of what holds them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack.conftest import PROJECT, RECOVERY_TIMEOUT_S, Appliance, docker
from tests.unit.proxy.adapters.crawled_site import Answer, Site

pytestmark = pytest.mark.stack

# The guide that is shipped, with answers that are short on a machine that does much beside.
BOT = "name: Desk\nsystem: Answer from the passages.\nknowledge: [site]\nmode: sources-only\nmax_tokens: 24\n"
GUIDE = "# Lamps\n\n## Returns\n\nA storm lantern can be sent back within thirty days.\n"


def page(title: str, text: str, *links: str) -> Answer:
    anchors = " ".join(f'<a href="{link}">{link}</a>' for link in links)
    body = f"<!doctype html><html><head><title>{title}</title></head><body><main><h1>{title}</h1><p>{text}</p>{anchors}"
    return 200, {"Content-Type": "text/html; charset=utf-8"}, body.encode()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A website on this machine, at the address that the worker's own network has here."""
    gateway = docker("network", "inspect", f"{PROJECT}_outside", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    pages = {
        "/": page("Lighthouse", "A shop for keepers.", "/hours", "/fog"),
        "/hours": page("Opening hours", "The shop is open from Tuesday to Saturday, from nine to five.", "/"),
        "/fog": page("Fog", "In fog the horn sounds every forty seconds.", "/"),
    }
    with Site(pages, address=gateway.strip()) as running:
        yield running


def found(appliance: Appliance, query: str) -> list[dict[str, Any]]:
    answer = appliance.request("POST", "/api/v1/search", json={"query": query, "bot": "guide"})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["passages"])


def crash(appliance: Appliance, service: str) -> None:
    """Kills it, and waits until Docker has started it again and all is well."""
    before = appliance.containers()[service]["State"]
    os.kill(before["Pid"], signal.SIGKILL)
    deadline = time.monotonic() + RECOVERY_TIMEOUT_S
    while (state := appliance.containers()[service]["State"])["StartedAt"] == before["StartedAt"] or not state[
        "Running"
    ]:
        assert time.monotonic() < deadline, f"{service} is not started again"
        time.sleep(0.2)
    appliance.wait_healthy()


def test_a_file_is_answered_from_and_cited(appliance: Appliance) -> None:
    appliance.wait_healthy()
    (appliance.folder / "lamps.md").write_text(GUIDE)
    (appliance.folder / "compose" / "bots" / "desk.yaml").write_text(BOT)
    done = appliance.make("ingest", "FILE=lamps.md", "BOT=guide")
    assert done.returncode == 0, done.stdout
    assert "1 pages" in done.stdout
    answer = appliance.chat("How long can a storm lantern be sent back?", bot="desk")
    assert "thirty days" in answer["sources"][0]["snippet"]
    assert answer["finish_reason"] != "rule"
    refused = appliance.chat("Who won the chess olympiad of 1978?", bot="desk")
    assert (refused["finish_reason"], refused["sources"]) == ("rule", [])


def test_a_website_is_read_only_where_its_address_is_allowed(appliance: Appliance, site: Site) -> None:
    refused = appliance.make("ingest", f"URL={site.url}/", "BOT=guide", "RATE=0")
    assert refused.returncode != 0
    assert "fetch_refused" in refused.stdout
    assert f"ALLOW_PRIVATE={site.authority}" in refused.stdout
    assert site.asked == []
    done = appliance.make("ingest", f"URL={site.url}/", "BOT=guide", "RATE=0", f"ALLOW_PRIVATE={site.authority}")
    assert done.returncode == 0, done.stdout
    assert "3 pages" in done.stdout
    assert found(appliance, "When is the shop open?")[0]["url"] == f"{site.url}/hours"


def test_what_was_read_survives_crashes_and_vectors_are_made_anew(appliance: Appliance, site: Site) -> None:
    before = [passage["url"] for passage in found(appliance, "How often does the horn sound in fog?")]
    assert before[0] == f"{site.url}/fog"
    for service in ("worker", "chroma"):
        crash(appliance, service)
        assert [passage["url"] for passage in found(appliance, "How often does the horn sound in fog?")] == before
    rebuilt = appliance.make("sources", "REBUILD=1")
    assert rebuilt.returncode == 0, rebuilt.stdout
    assert [passage["url"] for passage in found(appliance, "How often does the horn sound in fog?")] == before


def test_sources_are_listed_and_removed(appliance: Appliance) -> None:
    def listed() -> dict[str, str]:
        told = appliance.make("sources", "JSON=1").stdout
        return {each["location"]: each["id"] for each in json.loads(told[told.index("[") :])}

    sources = listed()
    assert "lamps.md" in sources
    done = appliance.make("sources", f"REMOVE={sources['lamps.md']}")
    assert done.returncode == 0, done.stdout
    assert "lamps.md" not in listed()
    assert all("lantern" not in passage["text"] for passage in found(appliance, "Can a storm lantern be sent back?"))
