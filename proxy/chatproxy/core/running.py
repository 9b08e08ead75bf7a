"""The answers that are being made right now, so that they can be cancelled, looked at and taken over from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from chatproxy.errors import TakenOver


class Run:
    """One running answer. What is asked of it is seen between two events of the engine, every half second at least."""

    def __init__(self) -> None:
        self._cancelled = self._taken_over = False
        self._ended = threading.Event()
        self._parts: list[str] = []

    @property
    def cancelled(self) -> bool:
        """Whether it is to end. Raises TakenOver where somebody else goes on with it."""
        if self._taken_over:
            raise TakenOver
        return self._cancelled

    @property
    def text(self) -> str:
        """What has been generated so far."""
        return "".join(self._parts)

    def feed(self, piece: str) -> None:
        """Note the next piece of text."""
        self._parts.append(piece)

    def cancel(self) -> None:
        """Ask it to end."""
        self._cancelled = True

    def take_over(self) -> None:
        """Ask it to end because another connection goes on from where it is."""
        self._taken_over = True

    def end(self) -> None:
        """It has ended and what there is of it is stored."""
        self._ended.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; returns whether it came."""
        return self._ended.wait(timeout_s)


class Running:
    """Running answers by owner and id (a message's id, or what a Kobold client calls its genkey)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, str], Run] = {}

    @contextmanager
    def track(self, owner: str, run_id: str) -> Iterator[Run]:
        """Have it findable for as long as the `with` lasts. A second one under the same id takes its name over."""
        run = Run()
        with self._lock:
            self._runs[owner, run_id] = run
        with self._ending(owner, run_id, run):
            yield run

    @contextmanager
    def claim(self, owner: str, run_id: str, *, timeout_s: float) -> Iterator[Run]:
        """Like `track`, but whoever runs under this id is made to end first. Raises TakenOver if it does not."""
        run = Run()
        while (current := self._put(owner, run_id, run)) is not run:
            current.take_over()
            if not current.wait(timeout_s):
                raise TakenOver("the answer's other connection does not end")
        with self._ending(owner, run_id, run):
            yield run

    def find(self, owner: str, run_id: str) -> Run | None:
        """The run of that name, where it belongs to `owner` and has not ended."""
        with self._lock:
            return self._runs.get((owner, run_id))

    def _put(self, owner: str, run_id: str, run: Run) -> Run:
        with self._lock:
            return self._runs.setdefault((owner, run_id), run)

    @contextmanager
    def _ending(self, owner: str, run_id: str, run: Run) -> Iterator[None]:
        try:
            yield
        finally:
            with self._lock:
                if self._runs.get((owner, run_id)) is run:
                    del self._runs[owner, run_id]
            run.end()
