"""Server-sent events to clients."""

from __future__ import annotations

import json
import logging
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
Frame = tuple[str, dict[str, Any]]


def event_stream(
    events: Generator[E],
    frame: Callable[[E], Frame | None],
    gone: Callable[[], bool],
    *,
    ping_every_s: float = PING_EVERY_S,
) -> Response:
    """Stream `events` as `frame` writes them: (event name, data), or None for those that are not told."""
    body = _EventStream(events, _frames(events, frame, gone, ping_every_s))
    response = Response(body, content_type="text/event-stream; charset=utf-8")
    # nginx and its kin would collect the stream before passing it on.
    response.headers["X-Accel-Buffering"] = "no"
    return response


class _EventStream(Iterator[bytes]):
    """The body. A class, since a generator that was never started would not close `events` when it is closed."""

    def __init__(self, events: Generator[Any], frames: Generator[bytes]) -> None:
        self._events, self._frames = events, frames

    def __next__(self) -> bytes:
        return next(self._frames)

    def close(self) -> None:
        """The server calls this at the end, also when the client has left."""
        self._frames.close()
        self._events.close()


def _frames(
    events: Generator[E], frame: Callable[[E], Frame | None], gone: Callable[[], bool], ping_every_s: float
) -> Generator[bytes]:
    """The stream's bytes; ends with a typed event, whatever happens, unless the client has left."""
    written = time.monotonic()
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
                told = frame(event)
                if told is None:
                    continue
                chunk = _encode(*told)
            yield chunk
            written = time.monotonic()
    except ChatProxyError as error:
        _log.warning("%s in mid-stream: %s", error.code, error)
        yield _encode("error", {"code": error.code, "message": error.public})
    except Exception as error:
        _log.error("internal_error in mid-stream: %s", describe(error))
        yield _encode("error", {"code": ChatProxyError.code, "message": ChatProxyError.public})


def _encode(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


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
