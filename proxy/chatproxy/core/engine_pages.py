"""The port to an engine's own page: what is asked there, what comes back."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What is passed on: `target` is path and query as they stood in the request line, `genkey` koboldcpp's name for
    the generation that is asked for, "" where it has none."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    genkey: str = ""


@dataclass(frozen=True, slots=True)
class PageHead:
    """Status and headers (names in lower case, none that is the connection's own) of the engine's answer."""

    status: int
    headers: Mapping[str, str]


# None: a moment of silence, in which to see whether the client has left.
PageEvent = PageHead | bytes | None


class EnginePages(Protocol):
    """One engine's HTTP server, spoken to as a browser would."""

    def ask(self, request: PageRequest, *, computes: bool) -> Generator[PageEvent]:
        """Yield None in moments of silence, then exactly one PageHead and the body's pieces.

        `computes` grants the time that an engine takes to think. Closing the generator closes the connection. Raises
        EngineFailure, EngineTimeout.
        """
        ...

    def abort(self, genkey: str, *, begun: bool) -> None:
        """Stop a generation that nobody waits for, where closing its connection is not enough. Never raises."""
        ...
