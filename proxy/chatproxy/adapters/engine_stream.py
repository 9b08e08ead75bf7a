"""What both engine adapters share: a generation's stream under its two time-outs, as text."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, Protocol

from chatproxy.adapters.sse import EventParser, SurrogateJoiner
from chatproxy.adapters.transport import Head, post
from chatproxy.core.types import Idle, Text
from chatproxy.errors import Busy, EngineFailure, EngineTimeout

TICK_S = 0.5
# What is read of a refusal, in bytes and seconds: its status has said what counts.
_LONGEST_ERROR, _ERROR_S = 65536, 5.0
# Events told together at most: who counts tokens, to stop an engine that knows no end, must not get thousands at once.
_MOST_TOGETHER = 32


class Parser(Protocol):
    """Turns bytes, cut anywhere, into the data of the events that they complete. Raises EngineFailure."""

    def feed(self, piece: bytes) -> list[str]: ...


class EngineRefused(EngineFailure):
    """The engine answered with an error status; `body` is what it said."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"the engine answered HTTP {status}: {body[:300]!r}")
        self.engine_status, self.body = status, body


def generated(
    url: str,
    payload: Mapping[str, Any],
    headers: Mapping[str, str],
    read: Callable[[str], tuple[str, bool]],
    *,
    first_s: float,
    idle_s: float,
    parser: Parser | None = None,
) -> Generator[Text | Idle]:
    """Ask the engine and yield its text; `read` makes of an event's data its text and whether it was the last.

    `parser` finds the events among the bytes; without one they are server-sent events.
    Events that have come together are told together: a proxy that lags behind catches up. Raises as `events` does.
    """
    joiner = SurrogateJoiner()
    with closing(events(url, payload, headers, first_s=first_s, idle_s=idle_s, parser=parser)) as stream:
        for batch in stream:
            pieces, over = [], False
            for data in batch:
                piece, over = read(data)
                pieces.append(piece)
                if over:
                    break
            text = joiner.feed("".join(pieces))
            yield Text(text, len(pieces)) if text else Idle()
            if over:
                break
    if lost := joiner.flush():
        yield Text(lost)


def events(
    url: str,
    payload: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    first_s: float,
    idle_s: float,
    parser: Parser | None = None,
) -> Generator[list[str]]:
    """Yield the data of events that came together; none when the request is out and in moments of silence.

    `first_s` runs from the request to the first event, `idle_s` between two events: comments and headers do not
    count, since an engine that has wedged may still send those. Raises EngineTimeout, EngineRefused, EngineFailure,
    and Busy for HTTP 503 and 429, with which engines tell that they are occupied.
    """
    parser = parser or EventParser()
    deadline, silence = time.monotonic() + first_s, f"no first token within {first_s:g} s"
    body = json.dumps(payload).encode()
    status, refusal, ends = 0, b"", deadline
    with closing(post(url, body, headers, tick_s=TICK_S)) as pieces:
        for piece in pieces:
            if isinstance(piece, Head):
                status, ends = piece.status, time.monotonic() + _ERROR_S
            elif piece and status != 200:
                refusal = (refusal + piece)[:_LONGEST_ERROR]
            elif piece:
                batch = parser.feed(piece)
                for first in range(0, len(batch), _MOST_TOGETHER):
                    yield batch[first : first + _MOST_TOGETHER]
                    # The time that the consumer took is not the engine's.
                    deadline, silence = time.monotonic() + idle_s, f"silent for {idle_s:g} s"
            if status not in (0, 200) and (len(refusal) == _LONGEST_ERROR or time.monotonic() > ends):
                break
            if time.monotonic() > deadline:
                raise EngineTimeout(f"{url}: {silence}")
            if piece is None:
                yield []
    if status in (429, 503):
        raise Busy(f"{url}: HTTP {status}", public="The language model is occupied or still loading.", retry_after=5)
    if status != 200:
        raise EngineRefused(status, refusal)


def decode(data: str) -> dict[str, Any]:
    """One event's JSON object. Raises EngineFailure for anything else."""
    try:
        decoded = json.loads(data)
    except (ValueError, RecursionError):
        raise EngineFailure("the engine sent an event that is not JSON") from None
    if not isinstance(decoded, dict):
        raise EngineFailure("the engine sent an event that is not a JSON object")
    return decoded
