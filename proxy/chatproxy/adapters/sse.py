"""Server-sent events, as engines send them (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from chatproxy.errors import EngineFailure

# No event of a text stream comes near this; more is not an engine talking.
_LONGEST_LINE = 1 << 20


class EventParser:
    """Turns bytes, cut anywhere, into the `data` of each event. Names, ids and comments are left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[str]:
        """The events that `piece` completes. Raises EngineFailure for a line without end."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            raise EngineFailure("the engine sent a line without end")
        events = []
        for raw in lines:
            # Split at line ends first, decoded after: a character of several bytes is never cut.
            line = raw.rstrip(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" ").decode("utf-8", errors="replace"))
                self._size += len(line)
                if self._size > _LONGEST_LINE:
                    raise EngineFailure("the engine sent an event without end")
            elif not line and self._data:
                events.append("\n".join(self._data))
                self._data, self._size = [], 0
        return events


class SurrogateJoiner:
    """Joins a character whose two JSON halves (\\ud83d, \\ude00) came in two events; a lone half becomes U+FFFD."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """Text that can be encoded; a trailing first half waits for the second."""
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def flush(self) -> str:
        """The text has ended: a half that still waits is lost."""
        half, self._half = self._half, ""
        return "\ufffd" if half else ""
