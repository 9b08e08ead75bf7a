"""How a running generation becomes koboldcpp's server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from .dialects import Dialect
from .slot import Generation

_POLL = 0.02  # s between two looks at the tokens; what came meanwhile goes out as one event


def event(token: str, finish_reason: str | None) -> bytes:
    """One event in koboldcpp's framing. It sends no other fields, no ``[DONE]`` and no keep-alive comments."""
    data = json.dumps({"token": token, "finish_reason": finish_reason})
    return f"event: message\ndata: {data}\n\n".encode()


def events(generation: Generation, dialect: Dialect, first_event_delay: float) -> Iterator[bytes]:
    """The generation's events, bundled as the real server bundles them.

    With ``trim_stop`` a bundle that may be the start of a stop sequence is held back. Only whole bundles are
    looked at, so the first letters of a stop sequence leak when they come at a bundle's end: a client must
    filter again.
    """
    time.sleep(first_event_delay)
    parameters = generation.parameters
    sent = 0
    undecoded = b""
    reserve = ""
    while True:
        done = generation.done.is_set()  # before the tokens: those that come after wait for the next round
        tokens = generation.tokens[sent:]
        sent += len(tokens)
        bundle, undecoded = decode_whole(undecoded + b"".join(tokens))
        if parameters.trim_stop and not done and _may_hold_stop(bundle, parameters.stop_sequence):
            reserve += bundle
        elif bundle or done:
            text = trim(reserve + bundle, parameters.stop_sequence) if parameters.trim_stop else reserve + bundle
            reserve = ""
            if text or done:
                yield event(text, generation.finish_reason if done else dialect.pending_finish_reason)
        if done:
            return
        time.sleep(_POLL)


def decode_whole(data: bytes) -> tuple[str, bytes]:
    """Decode the whole UTF-8 sequences; give back an unfinished one at the end."""
    for cut in range(min(3, len(data)) + 1):
        head = data[: len(data) - cut]
        try:
            return head.decode(), data[len(head) :]
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "ignore"), b""


def _may_hold_stop(bundle: str, stops: tuple[str, ...]) -> bool:
    text = bundle.strip()
    return text != "" and any(stop in text or text in stop for stop in (s.strip() for s in stops) if stop)


def trim(text: str, stops: tuple[str, ...]) -> str:
    """The text up to the first of each stop sequence."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text
