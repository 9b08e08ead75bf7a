"""One key sends fifty questions at once, another key then one: how many of the fifty are answered before that one?

No baseline but the goal; in order of arrival it would be all fifty.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.appliance import gate, proxy, services
from tests.bench.figures import counted, figure, heading, median
from tests.integration.proxy.conftest import Client, Proxy, until

MANY = 50
GOAL = 2
SETTINGS = {"ENGINE_SLOTS": "1", "STREAM_CAP": "128", "QUEUE_SIZE": "100"}


@dataclass(frozen=True)
class Outcome:
    """`before` of the many were answered while the one waited for `waited_s`; `statuses` are all HTTP statuses."""

    before: int
    waited_s: float
    statuses: tuple[int, ...]


def overtake(running: Proxy, *, many: int = MANY, bot: str = "brief") -> Outcome:
    """Two new keys; needs one engine slot and a queue for `many` and one more."""
    answered: list[float] = []
    statuses: list[int] = []
    crowd, single = running.as_("chat"), running.as_("chat")

    def ask() -> None:
        # A client of its own: sessions are not made for threads.
        statuses.append(Client(crowd.url, crowd.key).chat("Count from one to five.", bot=bot).status_code)
        answered.append(time.monotonic())

    threads = [threading.Thread(target=ask) for _ in range(many)]
    for thread in threads:
        thread.start()
    until(_all_are_in(running, answered, many), 30)
    begun = time.monotonic()
    statuses.append(single.chat("And me?", bot=bot).status_code)
    ended = time.monotonic()
    for thread in threads:
        thread.join()
    return Outcome(sum(begun < moment <= ended for moment in answered), ended - begun, tuple(statuses))


def _all_are_in(running: Proxy, answered: list[float], many: int) -> Callable[[], bool]:
    return lambda: len(answered) + sum(gate(running)) >= many


def run() -> None:
    rounds = counted("ROUNDS", 3)
    with services("mongo", "engine", slots=1) as stack, proxy(stack, bots={"bench": 16}, **SETTINGS) as running:
        outcomes = [overtake(running, bot="bench") for _ in range(rounds)]
        heading(f"{MANY} questions of one key, then one of another, {rounds} rounds")
        figure("answered before it, most", max(outcome.before for outcome in outcomes), "", goal=GOAL, digits=0)
        figure("it waited, median", median(outcome.waited_s for outcome in outcomes), "s", digits=2)
        refused = [status for outcome in outcomes for status in outcome.statuses if status != 200]
        figure("questions that were not answered", len(refused), "", goal=0, digits=0)


if __name__ == "__main__":
    run()
