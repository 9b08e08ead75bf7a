"""How soon the engine is free again once nobody wants the answer: cancelled, or the client has left.

In each of an answer's phases, on the real llama.cpp with one slot: waiting in the queue, reading a long prompt,
generating. The clock runs from the request to cancel (or the closing of the connection) until the engine's own /slots
says idle; in the queue, until the place there is free. No baseline beside it but the goal.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import requests

from scripts.lib.native import NativeStack
from tests.bench.appliance import engine_is_idle, gate, proxy, services
from tests.bench.figures import counted, figure, heading, median
from tests.bench.prefix import Texts
from tests.integration.proxy.conftest import STORY, Client, Proxy, events_of, until

GOAL_S = 1.0
LONG_PROMPT_TOKENS = 2800  # seconds of reading on a CPU
_INTO_READING_S = 0.4
_POLL_S = 0.005


def run() -> None:
    rounds = counted("ROUNDS", 8)
    with (
        services("mongo", "engine", slots=1) as stack,
        proxy(stack, bots={"bench": 512}) as running,
    ):
        client, texts = running.as_("chat"), Texts(stack.engine_url)

        def engine_idle() -> bool:
            return engine_is_idle(stack.engine_url)

        def nobody_waits() -> bool:
            return gate(running)[1] == 0

        def reading() -> contextlib.AbstractContextManager[requests.Response]:
            return _reading(client, texts)

        phases: dict[str, tuple[Callable[[], contextlib.AbstractContextManager[requests.Response]], Callable[[], bool]]]
        phases = {
            "waiting in the queue": (lambda: _waiting(client, running), nobody_waits),
            "reading the prompt": (reading, engine_idle),
            "generating": (lambda: _generating(client), engine_idle),
        }
        heading(f"seconds until the engine is free, {rounds} rounds each")
        for phase, (begin, is_free) in phases.items():
            for way, end in {"cancelled": _cancel, "client leaves": _leave}.items():
                times = []
                for _ in range(rounds):
                    with begin() as answer:
                        times.append(_timed(client, answer, end, is_free))
                    _settle(stack, running)
                figure(f"{phase}, {way}: median", median(times), "s", digits=3)
                figure(f"{phase}, {way}: worst", max(times), "s", goal=GOAL_S, digits=3)


def _timed(
    client: Client,
    answer: requests.Response,
    end: Callable[[Client, requests.Response], None],
    free: Callable[[], bool],
) -> float:
    begun = time.perf_counter()
    end(client, answer)
    while not free():
        time.sleep(_POLL_S)
        if time.perf_counter() - begun > 60:
            raise SystemExit("the engine is still busy after a minute")
    return time.perf_counter() - begun


def _cancel(client: Client, answer: requests.Response) -> None:
    url = f"{client.url}/api/v1/chat/{answer.headers['X-Message-Id']}/cancel"
    done = client.session.post(url, timeout=30)
    if done.status_code != 200:
        raise SystemExit(f"cancelling: HTTP {done.status_code} {done.text[:200]}")


def _leave(client: Client, answer: requests.Response) -> None:
    answer.close()


@contextlib.contextmanager
def _waiting(client: Client, running: Proxy) -> Iterator[requests.Response]:
    with client.stream(STORY, bot="bench") as first:
        next(events_of(first))
        with client.stream("Me too", bot="bench") as answer:
            until(lambda: gate(running)[1] == 1)
            yield answer


@contextlib.contextmanager
def _reading(client: Client, texts: Texts) -> Iterator[requests.Response]:
    with client.stream(texts.of(LONG_PROMPT_TOKENS), bot="bench") as answer:
        time.sleep(_INTO_READING_S)
        yield answer


@contextlib.contextmanager
def _generating(client: Client) -> Iterator[requests.Response]:
    with client.stream(STORY, bot="bench") as answer:
        events = events_of(answer)
        for _ in range(5):
            next(events)
        yield answer


def _settle(stack: NativeStack, running: Proxy) -> None:
    """No round may run beside the one before."""
    until(lambda: gate(running) == (0, 0) and engine_is_idle(stack.engine_url), 60)


if __name__ == "__main__":
    run()
