"""Every fault on every service of the composed appliance, while people use it: what they saw, how soon it was over.

    CAUSES=kill,pause SERVICES=mongo,engine make bench ONLY=faults      (all of both without them)
    CELLS=full/worker,cut/engine make bench ONLY=faults

`usual` is the longest that any request took in the ten seconds before. `back` is the time from the fault's end until
each kind of request has been answered again (talking, asking, reading, searching, and a file given, which takes the
worker about two seconds on a good day) and /readyz says so; `healthy` is when Docker says it of every container too.
`lost` is what was acknowledged and is not there.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tests.bench.composed import causes, ledger, stack
from tests.bench.composed.crowd import Crowd, crowd
from tests.stack.conftest import RECOVERY_TIMEOUT_S, Appliance

GOAL_BACK_S = 30.0
_BEFORE_S = 3.0
_USUAL_S = 10.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Cell:
    """What one fault on one service did. Seconds; `back` None = not within RECOVERY_TIMEOUT_S."""

    cause: str
    service: str
    usual: float
    said: Counter[str]
    named: str
    back: float | None
    again: dict[str, float]
    healthy: float | None
    dishonest: list[str]
    lost: list[str]

    @property
    def last(self) -> str:
        """What was answered again last, or what was not."""
        if self.back is None:
            return ", ".join(kind for kind in Crowd.kinds if kind not in self.again) or "/readyz"
        return max(self.again, key=lambda what: self.again[what])

    @property
    def good(self) -> bool:
        return self.back is not None and self.back <= GOAL_BACK_S and not self.dishonest and not self.lost


def cell(running: Appliance, people: Crowd, cause: str, service: str) -> Cell:
    """Begin the fault, end it, wait until all is well, and compare the ledger with what is stored."""
    people.book.forget()
    time.sleep(_BEFORE_S)
    begun = time.monotonic()
    usual = max((each.ended - each.begun for each in people.book.since(begun - _USUAL_S)), default=0.0)
    named = set()
    with causes.FAULTS[cause](running, service):
        named |= _named(running)
    ended = time.monotonic()
    back, again = _back(running, people, ended, named)
    healthy = _healthy(running, ended)
    told = people.book.conversations()
    outcomes = people.book.since(begun, ended + (back or RECOVERY_TIMEOUT_S))
    lost = list(ledger.lost(people.line.address, told)) if back is not None else ["unknown: it did not come back"]
    return Cell(
        cause, service, usual, ledger.counted(outcomes), ", ".join(sorted(named)), back, again, healthy,
        sorted({each.dishonest for each in outcomes if each.dishonest}), lost,
    )  # fmt: skip


def _named(running: Appliance) -> set[str]:
    """What /readyz says is wrong."""
    status, body = running.readyz()
    if status == 0:
        return {"no answer"}
    return {name for name, check in body.get("checks", {}).items() if not check["ok"]}


def _back(running: Appliance, people: Crowd, ended: float, named: set[str]) -> tuple[float | None, dict[str, float]]:
    """Seconds until everything is answered again, None where it is not; and until each kind of request was."""
    answered: dict[str, float] = {}
    while time.monotonic() - ended < RECOVERY_TIMEOUT_S:
        for outcome in people.book.since(ended):
            if outcome.begun >= ended and outcome.good:
                answered.setdefault(outcome.what, outcome.ended - ended)
        wrong = _named(running)
        named |= wrong
        if wrong:
            answered["/readyz"] = time.monotonic() - ended
        elif answered.keys() >= set(people.kinds):
            return max(answered.values()), answered
        time.sleep(_POLL_S)
    return None, answered


def _healthy(running: Appliance, ended: float) -> float | None:
    try:
        running.wait_healthy()
    except BaseException as failure:  # pytest.fail is no Exception
        if isinstance(failure, KeyboardInterrupt):
            raise
        return None
    return time.monotonic() - ended


def told(each: Cell) -> str:
    """One line of the table."""
    back = "never" if each.back is None else f"{each.back:.1f}"
    healthy = "never" if each.healthy is None else f"{each.healthy:.1f}"
    said = ", ".join(f"{count} x {what}" for what, count in each.said.most_common())
    bad = "; ".join(each.dishonest)
    good = "ok" if each.good else "BAD"
    times = f"{each.usual:>7.1f}{back:>7} {each.last:<8}{healthy:>8}"
    line = f"{each.cause:<7}{each.service:<11}{times}{len(each.lost):>6}  {good:<4}{each.named or '-':<22} {said}"
    return line + (f" | DISHONEST {bad}" if bad else "")


HEADING = (
    f"{'cause':<7}{'service':<11}{'usual s':>7}{'back s':>7} {'last':<8}{'healthy':>8}{'lost':>6}  {'':<4}"
    f"{'/readyz named':<22} clients saw"
)


def run() -> None:
    pairs = _pairs()
    bad = 0
    wanted = {cause for cause, _ in pairs}
    small, clocks = bool({"low", "full"} & wanted), "clock" in wanted
    with stack.appliance(small=small, clocks=clocks) as running, crowd(stack.line_to(running)) as people:
        print(HEADING, flush=True)
        running.wait_healthy()
        for cause, service in pairs:
            why = causes.impossible(cause, service)
            if why:
                print(f"{cause:<7}{service:<11}  none: {why}", flush=True)
                continue
            made = cell(running, people, cause, service)
            print(told(made), flush=True)
            if not made.good:
                again = sorted(made.again.items(), key=lambda each: each[1])
                print("    again after:", ", ".join(f"{what} {after:.1f} s" for what, after in again), flush=True)
            for line in made.lost:
                print(f"    lost: {line}", flush=True)
            bad += not made.good
    if bad:
        sys.exit(f"{bad} of the cells are not as they should be")


def _pairs() -> list[tuple[str, str]]:
    """Of all cells, those that CELLS names, or CAUSES and SERVICES."""
    known = [f"{cause}/{service}" for cause in causes.FAULTS for service in causes.SERVICES]
    cells, wanted, services = (
        _chosen("CELLS", known),
        _chosen("CAUSES", causes.FAULTS),
        _chosen("SERVICES", causes.SERVICES),
    )
    pairs = [(cause, service) for cause, _, service in (each.partition("/") for each in cells)]
    return [(cause, service) for cause, service in pairs if cause in wanted and service in services]


def _chosen(variable: str, known: Iterable[str]) -> list[str]:
    words = os.environ.get(variable, "").replace(",", " ").split()
    unknown = set(words) - set(known)
    if unknown:
        sys.exit(f"{variable}: there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [each for each in known if each in words or not words]


if __name__ == "__main__":
    run()
