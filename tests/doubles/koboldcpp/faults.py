"""Ways in which an engine can fail under a client; a test switches them on with ``engine.fault = ...``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FaultKind(Enum):
    SILENCE = "silence"  # a stream's headers and nothing more; without streaming not even headers
    DROP = "drop"  # the connection ends without a last event or a whole body
    GARBAGE = "garbage"  # 200, but neither JSON nor events
    BUSY = "busy"  # 503 as from a full queue
    NULL = "null"  # 200 with the body `null` (on a stream: headers, then silence)
    DRIP = "drip"  # the answer byte by byte
    ERROR_REASON = "error_reason"  # 200 with finish_reason "error", as newer servers can say
    BODY = "body"  # a stream's headers, then bytes of the test's own, then the end
    TRICKLE = "trickle"  # bytes for ever that never become an event
    ENDLESS = "endless"  # tokens for ever: neither max_length nor the model's own end counts


@dataclass(frozen=True)
class Fault:
    """A fault for every generation request until it is taken away (``engine.fault = None``).

    Attributes:
        kind: what goes wrong.
        after_tokens: `DROP`, `SILENCE`, `GARBAGE`, `BODY` and `TRICKLE` on a stream come after this many tokens were
            sent.
        interval: seconds between two bytes of a `DRIP` or `TRICKLE`.
        data: what a `BODY` sends.
    """

    kind: FaultKind
    after_tokens: int = 0
    interval: float = 0.05
    data: bytes = b""

    @classmethod
    def silence(cls, after_tokens: int = 0) -> Fault:
        return cls(FaultKind.SILENCE, after_tokens=after_tokens)

    @classmethod
    def drop(cls, after_tokens: int = 0) -> Fault:
        return cls(FaultKind.DROP, after_tokens=after_tokens)

    @classmethod
    def garbage(cls, after_tokens: int = 0) -> Fault:
        return cls(FaultKind.GARBAGE, after_tokens=after_tokens)

    @classmethod
    def busy(cls) -> Fault:
        return cls(FaultKind.BUSY)

    @classmethod
    def null(cls) -> Fault:
        return cls(FaultKind.NULL)

    @classmethod
    def drip(cls, interval: float = 0.05) -> Fault:
        return cls(FaultKind.DRIP, interval=interval)

    @classmethod
    def error_reason(cls) -> Fault:
        return cls(FaultKind.ERROR_REASON)

    @classmethod
    def body(cls, data: bytes, after_tokens: int = 0) -> Fault:
        return cls(FaultKind.BODY, after_tokens=after_tokens, data=data)

    @classmethod
    def trickle(cls, interval: float = 0.05, after_tokens: int = 0) -> Fault:
        return cls(FaultKind.TRICKLE, after_tokens=after_tokens, interval=interval)

    @classmethod
    def endless(cls) -> Fault:
        return cls(FaultKind.ENDLESS)
