"""The engine's own page for an administrator: what computes waits its turn at the gate, as one payer among visitors."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress

from chatproxy.core.engine_pages import EnginePages, PageEvent, PageHead, PageRequest
from chatproxy.core.running import Run, Running
from chatproxy.core.slots import Gate
from chatproxy.errors import EngineFailure, EngineTimeout

# All administrators share one turn: whoever writes a long story in the page does not starve visitors.
PAYER = "engine-ui"
# How often a request that waits looks up: for its turn, and for whether its client is still there.
TICK_S = 0.5


class EngineUi:
    """Passes requests on to one engine. Every method's generator frees what it holds when it is closed."""

    def __init__(self, pages: EnginePages, gate: Gate, *, engine: int = 0) -> None:
        """`engine` is the number by which `gate` knows the engine of `pages`."""
        self._pages, self._gate, self._engine = pages, gate, engine
        self._waiting = Running()
        self._lock = threading.Lock()
        self._nameless = 0  # requests without a genkey that the engine computes

    def show(self, request: PageRequest) -> Generator[PageEvent]:
        """Pages, and words to what runs: at once. Raises as EnginePages.ask does."""
        return self._pages.ask(request, computes=False)

    def compute(self, request: PageRequest) -> Generator[PageEvent]:
        """In its turn: None while it waits. Ends without a head where it was aborted before its turn came.

        Raises Busy, and as EnginePages.ask does.
        """
        with self._gate.enter(PAYER, only=self._engine) as ticket:
            with self._waiting.track(PAYER, request.genkey) as run:
                while not ticket.wait(TICK_S):
                    if _is_aborted(run, request):
                        return
                    yield None
            yield from self._asked(request)

    def abort(self, genkey: str) -> bool:
        """Take a generation's place in the queue away. False where the engine is to be told, since it may have it.

        Told without a genkey, koboldcpp ends whatever runs, also a visitor's answer. So it is told that only while it
        computes something of the page that has no genkey either.
        """
        if not genkey:
            with self._lock:
                return not self._nameless
        run = self._waiting.find(PAYER, genkey)
        if run is None:
            return False
        run.cancel()
        return True

    def _asked(self, request: PageRequest) -> Generator[PageEvent]:
        answered = begun = False
        with self._counted(request), closing(self._pages.ask(request, computes=True)) as events:
            try:
                for event in events:
                    answered = answered or isinstance(event, PageHead)
                    begun = begun or isinstance(event, bytes)
                    yield event
            except GeneratorExit:
                if answered:
                    events.close()
                self._abort(request, begun)
                if not answered:
                    _wait_for_head(events)
                raise
            except EngineTimeout:
                self._abort(request, begun)
                raise

    @contextmanager
    def _counted(self, request: PageRequest) -> Iterator[None]:
        count = 0 if request.genkey else 1
        with self._lock:
            self._nameless += count
        try:
            yield
        finally:
            with self._lock:
                self._nameless -= count

    def _abort(self, request: PageRequest, begun: bool) -> None:
        if request.genkey:
            self._pages.abort(request.genkey, begun=begun)


def _wait_for_head(events: Generator[PageEvent]) -> None:
    """Keep the slot of an answer that nobody waits for as long as the engine works on it.

    Neither engine stops for a closed connection before it writes to it: a stream's head is then its first token, and a
    whole answer's is the end of the work.
    """
    with suppress(EngineFailure):
        for event in events:
            if isinstance(event, PageHead):
                return


def _is_aborted(run: Run, request: PageRequest) -> bool:
    # All requests without a genkey have the same name among those who wait: none of them is meant.
    return bool(request.genkey) and run.cancelled
