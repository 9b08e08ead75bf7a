"""An hour's visitors in ten minutes, on the composed appliance: what they saw, and whether memory stays flat.

    MINUTES=10 VISITORS=200 make bench ONLY=load

Visitors come as they like (Poisson), with a token of the chat page, ask one to six questions with time to read between
them, and some leave in the middle of an answer; two programs with a key ask, search and read all the while. Memory is
what the programs themselves hold (cgroup: anonymous pages), per container, every five seconds; its slope is a line
fitted to all samples but the first fifth, with the error of the fit.
"""

from __future__ import annotations

import math
import random
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.bench.composed import crowd, ledger, stack
from tests.bench.composed.crowd import Line, ask, look, talk
from tests.bench.composed.ledger import Ledger
from tests.bench.figures import counted, figure, heading, percentile
from tests.stack.conftest import Appliance

# Seconds; an hour's pace would be six times slower.
_READS_FOR_S = 4.0
_PROGRAM_PAUSE_S = 5.0
_QUESTIONS_MEAN, _MOST_QUESTIONS = 2.2, 6
_LEAVES = 0.15
_SAMPLED_EVERY_S = 5.0
GOAL_FIRST_P95_S = 10.0
# What a container may seem to gain in an hour; a leak of a few kilobytes per request would be far above it.
GOAL_SLOPE = 60.0
HONEST = {"429 rate_limited", "503 busy", "200, then error busy", "left"}
# All visitors come from one address here. The engine keeps prompts until their memory is full, which by its default
# takes longer than this lasts: a slope would be that of the cache, and a leak behind it would not be seen.
SETTINGS = {"NEW_VISITORS_PER_HOUR": "0", "VISITOR_ADDRESS_STREAMS": "1000", "PROMPT_CACHE": "32m"}


@dataclass(frozen=True)
class Slope:
    """Of one container's memory: MiB at the end, MB per hour, and the standard error of that."""

    service: str
    at_end: float
    per_hour: float
    error: float


def visitor(address: str, authority: bool | str, book: Ledger, questions: int, end: threading.Event) -> None:
    """One person on the chat page."""
    line = Line(address, "", authority)
    origin = {"Origin": address}
    try:
        came = line.session.post(f"{address}/api/v1/visitors", headers=origin, timeout=ledger.SILENCE_S)
    except requests.RequestException as error:
        book.note(ledger.broken("come", time.monotonic(), error))
        return
    if not book.note(ledger.judged("come", time.monotonic() - came.elapsed.total_seconds(), came)).good:
        return
    line.session.headers.update(origin | {"Authorization": f"Bearer {came.json()['token']}"})
    conversation = ""
    for _ in range(questions):
        leaves = random.randint(1, 8) if random.random() < _LEAVES else 0
        outcome, conversation = talk(line, book, "brief", crowd.question(), conversation, leaves)
        if (leaves and outcome.said == "left") or end.wait(random.expovariate(1 / _READS_FOR_S)):
            return


def program(line: Line, book: Ledger, end: threading.Event) -> None:
    while not end.wait(random.expovariate(1 / _PROGRAM_PAUSE_S)):
        ask(line, book, "brief", crowd.question())
        look(line, book, "read", lambda: line.get("/api/v1/conversations?limit=20"))
        look(line, book, "search", lambda: line.post("/api/v1/search", {"query": "lamp", "bot": "reader"}))


def people(line: Line, book: Ledger, seconds: float, visitors: int) -> None:
    """Lets them come for so long, and waits until the last has left."""
    end = threading.Event()
    threads = [threading.Thread(target=program, args=(line.again(), book, end), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        questions = min(_MOST_QUESTIONS, 1 + int(random.expovariate(1 / (_QUESTIONS_MEAN - 1))))
        given = (line.address, line.session.verify, book, questions, end)
        threads.append(threading.Thread(target=visitor, args=given, daemon=True))
        threads[-1].start()
        time.sleep(random.expovariate(visitors / seconds))
    end.set()
    for thread in threads:
        thread.join(2 * ledger.SILENCE_S)


class Memory:
    """Samples what each container's programs hold, in MiB, until it is told to stop."""

    def __init__(self, running: Appliance) -> None:
        self._files = {name: _statistics(each["Id"]) for name, each in running.containers().items()}
        self.samples: dict[str, list[tuple[float, float]]] = {name: [] for name in self._files}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(_SAMPLED_EVERY_S):
            for name, file in self._files.items():
                with suppress(OSError):
                    fields = dict(row.split() for row in file.read_text().splitlines())
                    held = int(fields.get("total_rss") or fields["anon"])
                    self.samples[name].append((time.monotonic(), held / stack.MIB))

    def slopes(self) -> list[Slope]:
        return [_slope(name, samples[len(samples) // 5 :]) for name, samples in sorted(self.samples.items())]


def _statistics(identity: str) -> Path:
    places = (f"memory/docker/{identity}", f"docker/{identity}", f"system.slice/docker-{identity}.scope")
    return next(path for place in places if (path := Path("/sys/fs/cgroup") / place / "memory.stat").exists())


def _slope(service: str, samples: Sequence[tuple[float, float]]) -> Slope:
    """Least squares."""
    if len(samples) < 3:
        return Slope(service, samples[-1][1] if samples else 0.0, 0.0, math.inf)
    count = len(samples)
    mean_x, mean_y = sum(x for x, _ in samples) / count, sum(y for _, y in samples) / count
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in samples)
    error = math.sqrt(rest / (count - 2) / spread)
    to_hours = 3600 * stack.MIB / 1e6
    return Slope(service, samples[-1][1], slope * to_hours, error * to_hours)


def run() -> None:
    seconds, visitors = 60 * counted("MINUTES", 10), counted("VISITORS", 200)
    with stack.appliance(**SETTINGS) as running:
        running.wait_healthy()
        line, book = stack.line_to(running), Ledger()
        heading(f"{visitors} visitors in {seconds / 60:g} minutes, and two programs")
        memory = Memory(running)
        people(line, book, seconds, visitors)
        memory.stop()
        outcomes = book.since(0)
        firsts = [each.first - each.begun for each in outcomes if each.first]
        figure("first token, p50", percentile(firsts, 0.5), "s", digits=2)
        figure("first token, p95", percentile(firsts, 0.95), "s", digits=2, goal=GOAL_FIRST_P95_S)
        for said, count in ledger.counted(outcomes).most_common():
            figure(f"requests: {said}", count, "", digits=0)
        wrong = [each.said for each in outcomes if not each.good and each.said not in HONEST]
        figure("errors that are no honest 429 or 503", len(wrong), "", digits=0, goal=0)
        dishonest = [each.dishonest for each in outcomes if each.dishonest]
        figure("dishonest", len(dishonest), "", digits=0, goal=0)
        gone = list(ledger.lost(line.address, book.conversations()))
        figure("acknowledged and lost", len(gone), "", digits=0, goal=0)
        slopes = memory.slopes()
        for slope in slopes:
            figure(f"memory of {slope.service} at the end", slope.at_end, "MiB")
            figure(f"  its slope (+- {slope.error:.1f})", slope.per_hour, "MB/h", goal=GOAL_SLOPE)
    missed = [f"{each.service} grows by {each.per_hour:.0f} MB/h" for each in slopes if each.per_hour > GOAL_SLOPE]
    if percentile(firsts, 0.95) > GOAL_FIRST_P95_S:
        missed.append("first tokens come too late")
    if wrong or dishonest or gone or missed:
        sys.exit("; ".join(sorted({*wrong, *dishonest, *gone, *missed})))


if __name__ == "__main__":
    run()
