"""Server-sent events to clients."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from flask import Response

from chatproxy.core.generation import Waiting
from chatproxy.errors import ChatProxyError
from chatproxy.web.responses import describe

_log = logging.getLogger(__name__)
# Proxies on the way cut connections that are silent for a minute or less.
PING_EVERY_S = 5.0
_LOOK_EVERY_S = 0.5
E = TypeVar("E")


def stream(
    events: Generator[E],
    write: Callable[[E], bytes],
    failed: Callable[[ChatProxyError], bytes],
    gone: Callable[[], bool],
    *,
    content_type: str = "text/event-stream; charset=utf-8",
    comments: bool = True,
    ping_every_s: float = PING_EVERY_S,
) -> Response:
    """Stream `events` in any family's form: `write` gives an event's bytes (b"" = not told), `failed` an error's.

    Without `comments` the form knows none (JSON lines): nothing is sent while there is nothing to tell.
    """
    body = _EventStream(events, _chunks(events, write, failed, gone, ping_every_s if comments else math.inf))
    response = Response(body, content_type=content_type)
    # nginx and its kin would collect the stream before passing it on.
    response.headers["X-Accel-Buffering"] = "no"
    return response


class _EventStream(Iterator[bytes]):
    """The body. A class, since a generator that was never started would not close `events` when it is closed."""

    def __init__(self, events: Generator[Any], chunks: Generator[bytes]) -> None:
        self._events, self._chunks = events, chunks

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """The server calls this at the end, also when the client has left."""
        self._chunks.close()
        self._events.close()


def _chunks(
    events: Generator[E],
    write: Callable[[E], bytes],
    failed: Callable[[ChatProxyError], bytes],
    gone: Callable[[], bool],
    ping_every_s: float,
) -> Generator[bytes]:
    """The stream's bytes; ends with a typed event, whatever happens, unless the client has left."""
    written = time.monotonic()
    if ping_every_s < math.inf:
        yield b": stream\n\n"
    try:
        for event in events:
            if isinstance(event, Waiting):
                if gone():
                    return
                if time.monotonic() - written < ping_every_s:
                    continue
                chunk = b": ping\n\n"
            else:
                chunk = write(event)
            if chunk:
                yield chunk
                written = time.monotonic()
    except ChatProxyError as error:
        _log.warning("%s in mid-stream: %s", error.code, error)
        yield failed(error)
    except Exception as error:
        _log.error("internal_error in mid-stream: %s", describe(error))
        yield failed(ChatProxyError())


def named_error(error: ChatProxyError) -> bytes:
    """A failure as the stream's last event."""
    return encode("error", {"code": error.code, "message": error.public})


# Made once: this runs for each token of each stream.
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(name: str, data: dict[str, Any], event_id: int | None = None) -> bytes:
    """One named event; `event_id` is what a client sends back as Last-Event-ID."""
    line = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {name}\n{line}data: {_json(data)}\n\n".encode()


def to_the_end(events: Generator[E], gone: Callable[[], bool]) -> E | None:
    """For clients that do not stream: the last event, or None when the client left before it."""
    last: E | None = None
    looked = time.monotonic()
    try:
        for last in events:
            # Nothing is written until the end, so nothing would fail either: look, also while tokens flow.
            if isinstance(last, Waiting) or time.monotonic() - looked > _LOOK_EVERY_S:
                if gone():
                    return None
                looked = time.monotonic()
        return last
    finally:
        events.close()
