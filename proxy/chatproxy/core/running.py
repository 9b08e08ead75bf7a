"""The answers that are being made right now, so that they can be cancelled and looked at from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Run:
    """One running answer. `cancelled` is looked at between two events of the engine, every half second at least."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self._parts: list[str] = []

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def text(self) -> str:
        """What has been generated so far."""
        return "".join(self._parts)

    def feed(self, piece: str) -> None:
        """Note the next piece of text."""
        self._parts.append(piece)

    def cancel(self) -> None:
        """Ask it to end."""
        self._cancelled.set()

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
        run, name = Run(), (owner, run_id)
        with self._lock:
            self._runs[name] = run
        try:
            yield run
        finally:
            with self._lock:
                if self._runs.get(name) is run:
                    del self._runs[name]
            run.end()

    def find(self, owner: str, run_id: str) -> Run | None:
        """The run of that name, where it belongs to `owner` and has not ended."""
        with self._lock:
            return self._runs.get((owner, run_id))
