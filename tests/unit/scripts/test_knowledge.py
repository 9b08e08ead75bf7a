"""`make ingest` and `make sources`: what they ask the worker's command line for, and how they show its job."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from chatproxy.commands import _parser as command_line
from scripts.lib import knowledge
from scripts.lib.compose import Container
from scripts.lib.failure import Failure

ROOT = Path(__file__).resolve().parents[3]


class FakeAppliance:
    """Answers like Compose would; keeps what it was asked to run and given to read."""

    def __init__(
        self, status: int = 0, out: str = "", err: str = "", *, running: bool = True, lines: Sequence[str] = ()
    ):
        self.answer, self.running, self.lines = (status, out, err), running, lines
        self.asked: list[tuple[str, list[str]]] = []
        self.given = b""

    def run_in(self, service: str, command: Sequence[str]) -> tuple[int, str, str]:
        self.asked.append((service, list(command)))
        return self.answer

    def feed(self, service: str, command: Sequence[str], given: BinaryIO, timeout: float) -> tuple[int, str, str]:
        self.given = given.read()
        return self.run_in(service, command)

    def follow(self, service: str, command: Sequence[str]) -> Iterator[str]:
        self.asked.append((service, list(command)))
        yield from self.lines

    def containers(self) -> list[Container]:
        state = "running" if self.running else "exited"
        return [Container(id="1", service="worker", name="worker", state=state, health="", status="", exit_code=0)]


def arguments(name: str, *more: str, **given: str) -> list[str]:
    words: list[str] = runpy.run_path(str(ROOT / "scripts" / name))["arguments"](given, *more)
    command_line().parse_args(["sources", *words])  # the worker's command line takes it
    return words


def job(state: str, **more: Any) -> str:
    progress = {"read": 3, "unchanged": 2, "removed": 0, "chunks": 12, "errors": 1, "todo": 4}
    told = {"id": "0f", "kind": "sync", "state": state, "progress": progress, "trouble": "", **more}
    return json.dumps(told)


def test_make_ingest_passes_on_what_it_was_given() -> None:
    given = {
        "URL": "https://a.org/docs",
        "DEPTH": "3",
        "EXCLUDE": "/tags/*",
        "EVERY": "24",
        "LANGUAGE": "de",
        "PAGES": "",
    }
    assert arguments("ingest", "site", **given) == [
        "add-url",
        "--collection=site",
        "--language=de",
        "--depth=3",
        "--exclude=/tags/*",
        "--every=24",
        "--",
        "https://a.org/docs",
    ]
    assert arguments("ingest", "", URL="--help") == ["add-url", "--", "--help"]
    assert arguments("ingest", "a", "--json.pdf") == ["add-file", "--name=--json.pdf", "--collection=a"]


def test_make_sources_asks_for_one_thing() -> None:
    assert arguments("sources") == ["list"]
    assert arguments("sources", JSON="1") == ["list", "--json"]
    assert arguments("sources", SHOW="ab", JSON="1") == ["show", "--json", "--", "ab"]
    assert arguments("sources", REMOVE="-x") == ["remove", "--", "-x"]
    assert arguments("sources", SYNC="ab") == ["sync", "--", "ab"]
    assert arguments("sources", REBUILD="1") == ["rebuild"]
    assert arguments("sources", REBUILD="0", JSON="0") == ["list"]
    assert arguments("sources", SCHEDULE="ab", EVERY="0") == ["schedule", "--every=0", "--", "ab"]
    for name in ("PAUSE", "RESUME", "CANCEL"):
        assert arguments("sources", **{name: "0f"}) == [name.lower(), "--", "0f"]


def test_a_file_is_streamed_to_the_worker(tmp_path: Path) -> None:
    file = tmp_path / "guide.pdf"
    file.write_bytes(b"%PDF")
    appliance = FakeAppliance(out='{"job": "0f"}\n')
    assert knowledge.ask(appliance, ["add-file"], given=file) == '{"job": "0f"}'
    assert appliance.given == b"%PDF"
    assert appliance.asked == [("worker", ["python3", "-m", "chatproxy", "sources", "add-file"])]


def test_the_workers_finding_becomes_a_failure() -> None:
    err = "ingest.depth_invalid: depth must be between 0 and 100.\n  -> as DEPTH=3\n"
    with pytest.raises(Failure) as caught:
        knowledge.ask(FakeAppliance(1, err=err), ["add-url"])
    assert (caught.value.id, caught.value.hint) == ("ingest.depth_invalid", "as DEPTH=3")


def test_a_worker_that_does_not_run_is_named() -> None:
    with pytest.raises(Failure) as caught:
        knowledge.ask(FakeAppliance(1, err="service is not running", running=False), ["list"])
    assert caught.value.id == "service.stopped"


def test_a_job_is_watched_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    line = {"url": "https://a.org/x", "code": "fetch_status", "message": "HTTP 500"}
    lines = [job("running"), job("done", report=[line] * 12, unlisted=5)]
    assert knowledge.watch(FakeAppliance(lines=lines), "0f", as_json=False, label="https://a.org") == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "running, 5 pages (2 unchanged), 12 chunks, 1 errors, 4 to go" in told.err
    assert "https://a.org/x  HTTP 500" in told.err
    assert "and 7 more: make sources SHOW=0f" in told.err


def test_a_job_that_failed_is_status_1_and_json_is_passed_through(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [job("running"), job("failed", report=[], unlisted=0)]
    assert knowledge.watch(FakeAppliance(lines=lines), "0f", as_json=True, label="x") == 1
    assert capsys.readouterr().out.splitlines() == lines


def test_a_job_that_waits_says_for_what() -> None:
    assert knowledge.in_words(json.loads(job("waiting", trouble="chroma: connection refused"))).endswith(
        "waits: chroma: connection refused"
    )


def test_nothing_heard_of_a_job_is_a_failure() -> None:
    with pytest.raises(Failure, match=r"ingest\.lost"):
        knowledge.watch(FakeAppliance(), "0f", as_json=False, label="x")


def test_a_folder_gives_its_files_by_their_names_within(tmp_path: Path) -> None:
    (tmp_path / "sub" / ".git").mkdir(parents=True)
    for name in ("b.md", "sub/a.pdf", ".hidden", "sub/.git/config"):
        (tmp_path / name).write_text("x")
    assert [name for _, name in knowledge.files_under(tmp_path)] == ["b.md", "sub/a.pdf"]
    assert knowledge.files_under(tmp_path / "b.md") == [(tmp_path / "b.md", "b.md")]
    (tmp_path / "empty").mkdir()
    for nothing in ("empty", "missing"):
        with pytest.raises(Failure, match=r"ingest\.file_missing"):
            knowledge.files_under(tmp_path / nothing)


class OneRefused(FakeAppliance):
    """Takes every file but the empty ones."""

    def feed(self, service: str, command: Sequence[str], given: BinaryIO, timeout: float) -> tuple[int, str, str]:
        empty = not given.read()
        self.asked.append((service, list(command)))
        if empty:
            return 1, "", "ingest.file_invalid: file is empty.\n  -> look at the file, and give it again\n"
        return 0, json.dumps({"source": "0a", "job": "0f"}), ""


def test_a_file_that_is_refused_does_not_keep_the_others_of_its_folder_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("a.txt", "a"), ("empty.txt", ""), ("z.txt", "z")):
        (tmp_path / name).write_text(text)
    appliance = OneRefused(lines=[job("done")])
    monkeypatch.setattr(knowledge, "reached", lambda: appliance)
    monkeypatch.setenv("FILE", str(tmp_path))
    for name in ("URL", "BOT", "COLLECTION", "JSON"):
        monkeypatch.delenv(name, raising=False)
    assert runpy.run_path(str(ROOT / "scripts" / "ingest"))["main"]() == 1
    given = [word for _, words in appliance.asked for word in words if word.startswith("--name=")]
    assert given == ["--name=a.txt", "--name=empty.txt", "--name=z.txt"]
    assert "empty.txt: file is empty" in capsys.readouterr().err
