"""The engines behind the gate. Several serve the same model; whichever answers stands for all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from chatproxy.core.ports import Engine, HealthCheck
from chatproxy.core.slots import Gate
from chatproxy.core.types import Image
from chatproxy.errors import EngineFailure, Unhealthy

_log = logging.getLogger(__name__)
# How often each of several engines is asked whether it is well.
_WATCH_EVERY_S = 3.0
T = TypeVar("T")


class Engines:
    """Engines by number, as the gate hands them out."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = tuple(engines)
        self._answering = 0  # the one that answered last is asked first

    def __len__(self) -> int:
        return len(self._engines)

    def __getitem__(self, number: int) -> Engine:
        return self._engines[number]

    def count_tokens(self, text: str) -> int:
        """See core.ports.Engine; from the first engine that answers."""
        return self._ask(lambda engine: engine.count_tokens(text))

    def context_size(self) -> int | None:
        """See core.ports.Engine; from the first engine that answers."""
        return self._ask(lambda engine: engine.context_size())

    def model(self) -> str:
        """See core.ports.Engine; from the first engine that answers."""
        return self._ask(lambda engine: engine.model())

    def most_images(self) -> int:
        """See core.ports.Engine; from the first engine that answers."""
        return self._ask(lambda engine: engine.most_images())

    def image_tokens(self, image: Image) -> int:
        """See core.ports.Engine; from the first engine that answers."""
        return self._ask(lambda engine: engine.image_tokens(image))

    def _ask(self, question: Callable[[Engine], T]) -> T:
        first, failure = self._answering, EngineFailure("there is no engine")
        for number in (*range(first, len(self._engines)), *range(first)):
            try:
                answer = question(self._engines[number])
            except EngineFailure as error:
                failure = error
            else:
                self._answering = number
                return answer
        raise failure


class AnyEngine:
    """Implements HealthCheck over several engines: one that answers is enough to answer questions."""

    name = "engine"

    def __init__(self, checks: Sequence[HealthCheck]) -> None:
        self._checks = checks

    def check(self) -> None:
        """See core.ports.HealthCheck."""
        reasons = []
        for check in self._checks:
            try:
                check.check()
            except Unhealthy as error:
                reasons.append(f"{check.name}: {error}")
            else:
                return
        raise Unhealthy("; ".join(reasons))


def watch(checks: Sequence[HealthCheck], gate: Gate, *, every_s: float = _WATCH_EVERY_S) -> None:
    """Keep telling the gate which engines are well, from threads that end with the process.

    One thread an engine: one that hangs must not keep the others from being looked at.
    """
    for number, check in enumerate(checks):
        arguments = (number, check, gate, every_s)
        threading.Thread(target=_watch_one, args=arguments, name=f"watch-engine-{number}", daemon=True).start()


def _watch_one(number: int, check: HealthCheck, gate: Gate, every_s: float) -> None:
    was_up, pause = True, threading.Event()
    while True:
        try:
            check.check()
            is_up, reason = True, ""
        except Unhealthy as error:
            is_up, reason = False, str(error)
        except Exception as error:  # a check that breaks says that the engine cannot be trusted, and is asked again
            is_up, reason = False, type(error).__name__
        if is_up != was_up:
            _log.warning("%s is %s", check.name, "well again" if is_up else f"given no work: {reason}")
        gate.set_up(number, is_up)
        was_up = is_up
        pause.wait(every_s)
