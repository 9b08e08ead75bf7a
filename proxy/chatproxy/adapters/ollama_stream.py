"""Ollama's own stream: one JSON object a line, the last one with the reason of the end and the counts.

Source: Ollama's docs/api.md, "Generate a completion".
"""

from __future__ import annotations

from chatproxy.adapters.engine_stream import decode
from chatproxy.adapters.openai_kinds import whole
from chatproxy.core.types import Finish
from chatproxy.errors import EngineFailure

# No line of a text stream comes near this; more is not an engine talking.
_LONGEST_LINE = 1 << 20


class LineParser:
    """Turns bytes, cut anywhere, into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[str]:
        """The lines that `piece` completes. Raises EngineFailure for one without end."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            raise EngineFailure("the engine sent a line without end")
        return [line.decode("utf-8", errors="replace") for line in lines if line.strip()]


class OllamaEnd:
    """What such a stream says of its own end."""

    def __init__(self) -> None:
        self._finish: Finish | None = None

    def read(self, data: str) -> tuple[str, bool]:
        """See engine_stream.generated."""
        event = decode(data)
        if "error" in event:
            raise EngineFailure(f"the engine reported {str(event['error'])[:300]!r} in mid-stream")
        text, done = event.get("response", ""), event.get("done")
        if not isinstance(text, str) or not isinstance(done, bool):
            raise EngineFailure("the engine sent a line that is not a completion")
        if done:
            self._finish = Finish(
                "length" if event.get("done_reason") == "length" else "stop",
                whole(event, "prompt_eval_count"),
                whole(event, "eval_count"),
            )
        return text, done

    def finish(self) -> Finish:
        """Raises EngineFailure where the stream was cut off."""
        if self._finish is None:
            raise EngineFailure("the engine closed the stream without an end")
        return self._finish
