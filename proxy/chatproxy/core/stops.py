"""Filters on a stream of text pieces. What they let out does not depend on how the text was cut into pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable


class StopFilter:
    """Lets text through up to the first stop string to complete, and never a part of one.

    Engines end a stream at a stop string but may already have sent its first half, so the tail that could still
    become a stop is held back until it is decided.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        # Every proper beginning of a stop, and where one may begin: this runs for each token of each stream.
        self._beginnings = {stop[:length] for stop in self._stops for length in range(1, len(stop))}
        self._longest = max(map(len, self._beginnings), default=0)
        firsts = re.escape("".join({stop[0] for stop in self._stops}))
        self._first = re.compile(f"[{firsts}]" if firsts else "(?!)")
        self._held = ""
        self.stopped = False

    def feed(self, piece: str) -> str:
        """Take the next piece, give what is certain to be answer."""
        if self.stopped:
            return ""
        text = self._held + piece
        found = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        cut = len(text) - self._undecided(text)
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """The text has ended: what was held back is answer after all."""
        rest, self._held = self._held, ""
        return rest

    def _undecided(self, text: str) -> int:
        """How long the longest tail is with which a stop begins."""
        for found in self._first.finditer(text, max(0, len(text) - self._longest)):
            if text[found.start() :] in self._beginnings:
                return len(text) - found.start()
        return 0


class TrimFilter:
    """Drops white space in front of and behind a text, keeping what lies between."""

    def __init__(self, *, begun: bool = False) -> None:
        """`begun`: the text goes on from an earlier part, so white space in front lies between."""
        self._started = begun
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take the next piece, give everything up to its last visible character."""
        text = self._held + piece
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        visible = text.rstrip()
        self._held = text[len(visible) :]
        return visible
