"""What `make ingest` and `make sources` ask the worker's own command line for, and how they show a job at work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from scripts.lib import compose, dev_stack, log
from scripts.lib.compose import Container
from scripts.lib.failure import Failure
from scripts.lib.services import refusal

_COMMAND = ("python3", "-m", "chatproxy", "sources")
_UPLOAD_TIMEOUT_S = 600.0


class Inside(Protocol):
    """What this module needs of Compose."""

    def run_in(self, service: str, command: Sequence[str]) -> tuple[int, str, str]: ...

    def feed(self, service: str, command: Sequence[str], given: BinaryIO, timeout: float) -> tuple[int, str, str]: ...

    def follow(self, service: str, command: Sequence[str]) -> Iterator[str]: ...

    def containers(self) -> list[Container]: ...


def reached() -> Inside:
    """What `make ingest` and `make sources` act on: `make dev` where it runs, else the appliance of `make up`.

    Says which. Failure where there is neither.
    """
    dev = dev_stack.running()
    if dev:
        log.info(f"this is about `make dev`, which runs at {dev.url}")
        return dev
    appliance = compose.current()
    log.info(f"this is about the appliance of `make up` ({appliance.project})")
    return appliance


def ask(appliance: Inside, arguments: Sequence[str], *, service: str = "worker", given: Path | None = None) -> str:
    """What the command line prints; `given` is streamed to it. Failure for what was not done."""
    command = [*_COMMAND, *arguments]
    if given is None:
        status, out, err = appliance.run_in(service, command)
    else:
        with given.open("rb") as file:
            status, out, err = appliance.feed(service, command, file, _UPLOAD_TIMEOUT_S)
    if status == 0:
        return out.rstrip("\n")
    if refused := refusal(err):
        raise refused
    if not any(each.service == service and each.state == "running" for each in appliance.containers()):
        fact = f"sources are kept by the {service}, which is not running"
        raise Failure("service.stopped", fact, "`make up`, or `make dev`, then try again")
    last = (err.strip().splitlines() or ["no reason given"])[-1]
    raise Failure("sources.failed", last, f"`make logs SERVICE={service}` shows more")


def watch(appliance: Inside, job: str, *, as_json: bool, label: str) -> int:
    """Show a job until it has ended: one line that changes on a terminal, lines elsewhere. 0 when it is done."""
    last: dict[str, Any] = {}
    for line in appliance.follow("worker", [*_COMMAND, "watch", job]):
        if not line.startswith("{"):
            continue
        last = json.loads(line)
        if as_json:
            log.result(line)
        elif log.plain():
            log.info(f"{label}: {in_words(last)}")
        else:
            # A line that wraps would not be replaced.
            log.redraw(f"{label}: {in_words(last)}"[: shutil.get_terminal_size().columns - 5])
    if not last:
        raise Failure("ingest.lost", f"nothing is heard of job {job}", "`make status` shows whether the worker runs")
    if not as_json:
        _tell_end(last, label)
    return 0 if last["state"] == "done" else 1


def in_words(job: Mapping[str, Any]) -> str:
    """One line about a job."""
    progress = job["progress"]
    pages = progress["read"] + progress["unchanged"]
    parts = [f"{job['state']}, {pages} pages ({progress['unchanged']} unchanged), {progress['chunks']} chunks"]
    for name, word in (("removed", "removed"), ("errors", "errors"), ("todo", "to go")):
        if progress[name]:
            parts.append(f"{progress[name]} {word}")
    return ", ".join(parts) + (f" - waits: {job['trouble']}" if job["trouble"] else "")


def _tell_end(job: Mapping[str, Any], label: str) -> None:
    if not log.plain():
        log.redraw(f"{label}: {in_words(job)}", last=True)
    for line in job.get("report", [])[:10]:
        log.info(f"| {line['code']}  {line['url']}  {line['message']}")
    rest = len(job.get("report", [])) - 10 + job.get("unlisted", 0)
    if rest > 0:
        log.info(f"| and {rest} more: make sources SHOW={job['id']}")


def follow_up(job: str) -> None:
    """What is said where somebody stops looking."""
    log.info(f"the job goes on without you: make sources SHOW={job}   (CANCEL={job} ends it)")


def files_under(path: Path) -> list[tuple[Path, str]]:
    """A file, or all files below a folder without hidden ones, each with its name within. Failure where none is."""
    if path.is_file():
        return [(path, path.name)]
    if not path.is_dir():
        raise Failure("ingest.file_missing", f"{path} is no file and no folder", "as FILE=handbook.pdf or FILE=docs/")
    found = [each for each in sorted(path.rglob("*")) if each.is_file()]
    named = [(each, each.relative_to(path).as_posix()) for each in found]
    shown = [(each, name) for each, name in named if not any(part.startswith(".") for part in name.split("/"))]
    if not shown:
        raise Failure("ingest.file_missing", f"there is no file in {path}", "as FILE=handbook.pdf or FILE=docs/")
    return shown
