"""A website and files become answers with sources: the real worker, parser, MongoDB, Chroma, embeddings and word index,
and a site on loopback."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.lib import knowledge
from scripts.lib.compose import Compose
from scripts.lib.failure import Failure
from scripts.lib.native import ROOT
from tests.integration.proxy.conftest import Client
from tests.integration.proxy.knowledge.sites import add, conditional, first_text, found, page, shop
from tests.integration.proxy.knowledge.stores import Stores
from tests.integration.proxy.knowledge.worker_process import Worker
from tests.unit.proxy.adapters.crawled_site import Site


def test_a_website_becomes_answers_with_sources(worker: Worker, desk: Client) -> None:
    with Site(shop()) as site:
        job = add(worker, site, "shop")
        assert (job["state"], job["progress"]["read"], job["progress"]["errors"]) == ("done", 4, 0)
        passages = found(desk, "shop", "How long do I have to send a lamp back?")
        assert "thirty days" in passages[0]["text"]
        assert passages[0]["url"] == f"{site.url}/returns"
        assert "FH-1987" in first_text(desk, "shop", "FH-1987")
        answer = desk.chat("How long do I have to send a lamp back?", bot="shop").json()
        assert any(source["url"] == f"{site.url}/returns" for source in answer["sources"])


def test_a_second_reading_takes_in_what_changed_and_takes_out_what_went(
    worker: Worker, desk: Client, stores: Stores
) -> None:
    pages = shop()
    pages = {path: conditional(answer, f"1{path}") for path, answer in pages.items()}
    with Site(pages) as site:
        add(worker, site, "again")
        before = {chunk["_id"] for chunk in stores.chunks("again")}
        original_before = stores.original_keys()
        site.answers["/"] = page("Lighthouse shop", "We sell lamps and lenses.", "/hours", "/returns", "/new")
        site.answers["/returns"] = page("Returns", "A lamp can be sent back within ninety days.", "/")
        site.answers["/new"] = page("Delivery", "Parcels leave the island by boat on Mondays.", "/")
        del site.answers["/old"]
        site.asked.clear()
        job = add(worker, site, "again")
    progress = job["progress"]
    assert (job["state"], progress["read"], progress["unchanged"], progress["removed"]) == ("done", 3, 1, 1)
    assert [line["code"] for line in job["report"] if line["url"].endswith("/old")] == ["vanished"]
    assert "ninety days" in first_text(desk, "again", "How long can a lamp be sent back?")
    assert "by boat" in first_text(desk, "again", "When do parcels leave the island?")
    texts = " ".join(chunk["text"] for chunk in stores.chunks("again"))
    assert "thirty days" not in texts
    assert "foghorn" not in texts
    assert {chunk["_id"] for chunk in stores.chunks("again")} & before  # the unchanged page's stay
    assert stores.vectors("again") == stores.searched("again")
    assert stores.said("again", "lamp") <= stores.searched("again")
    # Of the three that changed or went the old bytes have gone as well.
    assert len(original_before - stores.original_keys()) == 3


def test_what_stands_on_two_pages_is_found_once_and_stays_when_one_of_them_goes(worker: Worker, stores: Stores) -> None:
    same = "The ferry runs every hour in summer."
    pages = {
        "/": page("Start", "Two addresses of one page.", "/a", "/b"),
        "/a": page("Ferry", same),
        "/b": page("Ferry", same),
    }
    with Site(pages) as site:
        add(worker, site, "twins")
        assert sum("ferry" in chunk["text"] for chunk in stores.chunks("twins")) == 2
        searched = [chunk for chunk in stores.chunks("twins") if "ferry" in chunk["text"] and not chunk["twin"]]
        assert [chunk["url"] for chunk in searched] == [f"{site.url}/a"]
        assert stores.said("twins", "ferry") == {searched[0]["_id"]}
        del site.answers["/a"]
        add(worker, site, "twins")
        left = [chunk for chunk in stores.chunks("twins") if "ferry" in chunk["text"]]
        assert [(chunk["url"], chunk["twin"]) for chunk in left] == [(f"{site.url}/b", False)]
        assert stores.vectors("twins") == stores.searched("twins")
        assert stores.said("twins", "ferry") == {left[0]["_id"]}


def test_a_file_is_read_replaced_and_removed(worker: Worker, desk: Client, stores: Stores) -> None:
    words = ("add-file", "--name", "guide.md", "--collection", "files")
    text = "# Guide\n\n## Fog\n\nIn fog the horn sounds every {} seconds.\n"
    job = worker.done(*words, given=text.format("forty").encode())
    assert (job["state"], job["progress"]["read"]) == ("done", 1)
    passages = found(desk, "files", "How often does the horn sound in fog?")
    assert "forty seconds" in passages[0]["text"]
    assert passages[0]["title"].startswith("Guide")
    job = worker.done(*words, given=text.format("sixty").encode())
    assert "sixty seconds" in first_text(desk, "files", "How often does the horn sound in fog?")
    assert len({chunk["document_id"] for chunk in stores.chunks("files")}) == 1
    assert worker.done("remove", job["source"])["state"] == "done"
    assert stores.chunks("files") == []
    assert stores.vectors("files") == set()
    assert found(desk, "files", "How often does the horn sound in fog?") == []
    assert not [key for key in stores.original_keys() if key.startswith(job["source"])]


def test_a_page_that_cannot_be_read_is_told_and_the_rest_goes_on(worker: Worker, stores: Stores) -> None:
    pages = shop()
    pages["/hours"] = (200, {"Content-Type": "application/pdf"}, b"%PDF-1.7 and then nothing of a PDF")
    pages["/returns"] = (500, {}, b"")
    with Site(pages) as site:
        job = add(worker, site, "broken")
        told = {line["url"].removeprefix(site.url): line["code"] for line in job["report"]}
        assert told == {"/hours": "document_broken", "/returns": "fetch_status"}
        assert (job["state"], job["progress"]["read"], job["progress"]["errors"]) == ("done", 2, 2)
        # Read again, the file is well.
        site.answers["/hours"] = shop()["/hours"]
        assert add(worker, site, "broken")["progress"]["read"] == 1
        listed = worker.sources("list").stdout
        assert "3 pages" in listed


def test_vectors_and_words_are_made_anew_from_what_is_stored(worker: Worker, desk: Client, stores: Stores) -> None:
    with Site(shop()) as site:
        add(worker, site, "rebuilt")
    stores.chroma.drop("rebuilt")
    worker_words = stores.searched("rebuilt")
    assert stores.vectors("rebuilt") == set()
    assert worker.done("rebuild")["state"] == "done"
    assert stores.vectors("rebuilt") == worker_words
    assert stores.said("rebuilt", "lamp") <= worker_words
    assert "thirty days" in first_text(desk, "rebuilt", "How long do I have to send a lamp back?")


@dataclass(frozen=True)
class Beside(Compose):
    """Runs beside the worker what Compose would run inside its container."""

    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        verb, _, service, program, *words = arguments
        assert (verb, service, program) == ("exec", "worker", "python3")
        return [sys.executable, *words]

    def environment(self) -> Mapping[str, str | None]:
        return {**self.variables, "PYTHONPATH": str(ROOT / "proxy")}


def test_the_operators_commands_bring_a_folder_in_and_show_it(
    worker: Worker, desk: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prices.csv").write_text("lamp,price\nStorm lantern,forty euros\nHarbour light,ninety euros\n")
    (tmp_path / "empty.txt").write_text(" ")
    appliance, jobs = Beside("test", variables=worker.environment), []
    for path, name in knowledge.files_under(tmp_path):
        begun = knowledge.ask(appliance, ["add-file", f"--name={name}", "--collection=shop"], given=path)
        jobs.append(json.loads(begun)["job"])
    ends = [knowledge.watch(appliance, job, as_json=False, label="file") for job in jobs]
    assert ends == [1, 0]  # empty.txt, prices.csv
    told = capsys.readouterr().err
    assert "document_empty  empty.txt" in told
    assert "file: done, 1 pages" in told
    assert "forty euros" in first_text(desk, "shop", "What does a storm lantern cost?")
    listed = json.loads(knowledge.ask(appliance, ["list", "--json"]))
    assert {each["location"]: each["pages"] for each in listed if each["kind"] == "file"}["prices.csv"] == 1
    with pytest.raises(Failure, match=r"sources\.unknown"):
        knowledge.ask(appliance, ["remove", "--", "0" * 16])
    with pytest.raises(Failure, match=r"ingest\.start_invalid"):
        knowledge.ask(appliance, ["add-url", "--", "ftp://a.example/"])
