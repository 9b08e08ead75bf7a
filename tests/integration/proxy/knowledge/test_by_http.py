"""What an owner does with knowledge by HTTP: the real proxy, the real worker, and a site on loopback."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from requests import Response

from chatproxy.core.library import Library
from chatproxy.parts import library
from chatproxy.settings import Settings
from scripts.lib import dev_stack, knowledge
from scripts.lib.failure import Failure
from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Client, events_of, until
from tests.integration.proxy.knowledge.sites import first_text, found, page, shop
from tests.integration.proxy.knowledge.stores import Stores
from tests.integration.proxy.knowledge.worker_process import Worker
from tests.unit.proxy.adapters.crawled_site import Site


class Owner:
    """Calls the routes with a key that may."""

    def __init__(self, desk: Client) -> None:
        self.desk = desk

    def call(self, method: str, path: str, expected: int = 200, **more: Any) -> dict[str, Any]:
        where = f"{self.desk.url}/api/v1/knowledge{path}"
        response: Response = self.desk.session.request(method, where, timeout=30, **more)
        assert response.status_code == expected, response.text
        return dict(response.json())

    def add(self, site: Site, **more: Any) -> dict[str, Any]:
        """Begins to read a site; the source and its job."""
        fields = {"url": f"{site.url}/", "bot": "api", "allow_private": [site.authority], "rate": 0, **more}
        return self.call("POST", "/sources", 202, json=fields)

    def watched(self, job: str) -> list[tuple[str, dict[str, Any]]]:
        """All events until the job's end."""
        where = f"{self.desk.url}/api/v1/knowledge/jobs/{job}"
        with self.desk.session.get(where, headers={"Accept": "text/event-stream"}, stream=True, timeout=30) as stream:
            return list(events_of(stream))

    def ended(self, job: str) -> dict[str, Any]:
        """The job at its end, with its report."""
        name, told = self.watched(job)[-1]
        assert name == "end"
        return told

    def state(self, job: str) -> str:
        return str(self.call("GET", f"/jobs/{job}")["state"])


@pytest.fixture(scope="module")
def owner(desk: Client, worker: Worker) -> Owner:
    return Owner(desk)


@pytest.fixture
def moved(native: NativeStack) -> Iterator[Library]:
    """What a worker's loop calls, here with a moment of the test's choice."""
    yield library(Settings.from_environment(native.proxy_environment()))


def test_a_file_is_given_watched_found_and_taken_away(owner: Owner, desk: Client, stores: Stores) -> None:
    text = b"# Guide\n\n## Fog\n\nIn fog the horn sounds every forty seconds.\n"
    form = {"collection": "api", "language": "en"}
    begun = owner.call("POST", "/sources", 202, data=form, files={"file": ("guide.md", text, "text/markdown")})
    job = owner.ended(begun["job"]["id"])
    assert (job["state"], job["progress"]["read"], job["report"]) == ("done", 1, [])
    assert "forty seconds" in first_text(desk, "api", "How often does the horn sound in fog?")
    source = owner.call("GET", f"/sources/{begun['source']['id']}")
    assert (source["pages"], source["state"], source["failed"]) == (1, "done", [])
    removal = owner.call("DELETE", f"/sources/{source['id']}", 202)["job"]
    assert owner.ended(removal["id"])["state"] == "done"
    assert found(desk, "api", "How often does the horn sound in fog?") == []
    assert not [key for key in stores.original_keys() if key.startswith(source["id"])]
    assert owner.call("GET", f"/sources/{source['id']}", 404)["error"]["code"] == "not_found"


def test_a_form_of_megabytes_arrives_whole(owner: Owner, stores: Stores) -> None:
    data = bytes(range(256)) * (40 << 12)  # 40 MiB: more than other bodies may be, and no document
    form = {"file": ("blob.bin", data, "application/octet-stream")}
    begun = owner.call("POST", "/sources", 202, data={"collection": "api"}, files=form)
    job = owner.ended(begun["job"]["id"])
    assert [line["code"] for line in job["report"]] == ["document_unsupported"]
    (kept,) = stores.database["originals.files"].find({"length": len(data)})
    assert kept["length"] == len(data)
    failed = owner.call("GET", f"/sources/{begun['source']['id']}")["failed"]
    assert [(each["url"], each["code"]) for each in failed] == [("blob.bin", "document_unsupported")]
    owner.ended(owner.call("DELETE", f"/sources/{begun['source']['id']}", 202)["job"]["id"])


def test_a_site_is_read_paused_resumed_and_ended(owner: Owner) -> None:
    pages = {f"/{number}": page(f"Page {number}", f"Number {number}.") for number in range(60)}
    with Site({"/": page("Start", "It begins.", *pages), **pages}) as site:
        begun = owner.add(site, rate=0.25)
        job, source = begun["job"]["id"], begun["source"]["id"]
        until(lambda: owner.call("GET", f"/jobs/{job}")["progress"]["read"] >= 1)
        assert owner.call("POST", f"/jobs/{job}/pause")["wanted"] == "pause"
        until(lambda: owner.state(job) == "paused")
        asked = len(site.asked)
        assert owner.call("GET", f"/sources/{source}")["job"]["state"] == "paused"
        assert len(site.asked) == asked
        owner.call("POST", f"/jobs/{job}/resume")
        until(lambda: len(site.asked) > asked)
        owner.call("POST", f"/jobs/{job}/cancel")
        events = owner.watched(job)
        assert (events[-1][0], events[-1][1]["state"]) == ("end", "cancelled")
        assert events[-1][1]["progress"]["read"] >= 1
        assert owner.call("POST", f"/jobs/{job}/pause", 409)["error"]["code"] == "job_ended"
        assert job in [each["id"] for each in owner.call("GET", "/jobs")["jobs"]]
        removal = owner.call("DELETE", f"/sources/{source}", 202)["job"]["id"]
        assert owner.ended(removal)["progress"]["removed"] >= 1


def test_a_site_is_read_again_when_it_is_due_and_not_when_it_is_not(
    owner: Owner, worker: Worker, moved: Library, desk: Client
) -> None:
    def open_jobs() -> list[str]:
        return [job.id for job in moved.open_jobs() if job.source_id == source]

    def hours_from_now(hours: float) -> datetime:
        return datetime.now(UTC) + timedelta(hours=hours)

    with Site(shop()) as site:
        begun = owner.add(site, every_hours=24)
        source = begun["source"]["id"]
        assert owner.ended(begun["job"]["id"])["state"] == "done"
        moved.schedule(hours_from_now(23.9))
        assert open_jobs() == []
        site.answers["/returns"] = page("Returns", "A lamp can be sent back within ninety days.", "/")
        moved.schedule(hours_from_now(24.1))
        second = owner.call("GET", f"/sources/{source}")["job"]
        assert second["id"] != begun["job"]["id"]
        assert owner.ended(second["id"])["state"] == "done"
        assert "ninety days" in first_text(desk, "api", "How long can a lamp be sent back?")
        # From the end of that reading on, it is a day again.
        moved.schedule(hours_from_now(23.9))
        assert open_jobs() == []
        # A new schedule counts from now on, by either way.
        assert owner.call("PATCH", f"/sources/{source}", json={"every_hours": 48})["every_hours"] == 48
        moved.schedule(hours_from_now(47.9))
        assert open_jobs() == []
        assert worker.begun("schedule", source, "--every", "1")["every_hours"] == 1
        moved.schedule(hours_from_now(1.1))
        (third,) = open_jobs()
        assert owner.ended(third)["state"] == "done"
        assert owner.call("PATCH", f"/sources/{source}", json={"every_hours": None})["every_hours"] is None
        moved.schedule(hours_from_now(24 * 365))
        assert open_jobs() == []
        owner.ended(owner.call("DELETE", f"/sources/{source}", 202)["job"]["id"])


def test_make_sources_reaches_what_make_dev_runs(
    native: NativeStack, owner: Owner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "stack.json"
    with dev_stack.told(dev_stack.DevStack(owner.desk.url, sys.executable, native.proxy_environment()), state):
        found = dev_stack.running(state)
        assert found
        file = tmp_path / "lamp.md"
        file.write_text("# Lamps\n\nThe lamp is lit at dusk.\n")
        asked = ["add-file", "--name=lamp.md", "--collection=api"]
        begun = json.loads(knowledge.ask(found, asked, given=file))
        assert knowledge.watch(found, begun["job"], as_json=False, label="lamp.md") == 0
        assert "lamp.md: done, 1 pages" in capsys.readouterr().err
        with pytest.raises(Failure, match=r"ingest\.bot_invalid"):  # from the bots' files: it has no collection
            knowledge.ask(found, ["collection", "companion"], service="proxy")
        knowledge.watch(
            found, json.loads(knowledge.ask(found, ["remove", begun["source"]]))["job"], as_json=True, label=""
        )
    assert dev_stack.running(state) is None


def test_nobody_else_may(desk: Client, owner: Owner) -> None:
    for headers, status in (({}, 401), ({"Authorization": "Bearer kb_none"}, 401)):
        stranger = desk.session.__class__()
        stranger.headers.update(headers)
        answer = stranger.get(f"{desk.url}/api/v1/knowledge/sources", timeout=10)
        assert answer.status_code == status
