"""The word that nobody is to be admitted for a while: a small file, which `make model` writes inside our container.

    {"until": 1763769600.0, "turn_away": false}

`until` is in seconds since 1970, so that a hold whose writer was killed ends by itself. The file lies on the
container's tmpfs: a container that starts anew knows of no hold.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Hold:
    """Admit nobody until then; with `turn_away` send away who waits."""

    until: float
    turn_away: bool = False

    def left_s(self, moment: float) -> float:
        """Seconds that it still lasts."""
        return max(0.0, self.until - moment)


_NONE = Hold(0.0)


class HoldFile:
    """Reads and writes it; the writer is another process of the same container."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self._path, self._clock = path, clock

    def write(self, seconds: float, *, turn_away: bool = False) -> None:
        """From now on for so long, in one step. Raises OSError."""
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        draft.write_text(json.dumps(asdict(Hold(self._clock() + seconds, turn_away))), encoding="ascii")
        draft.replace(self._path)

    def remove(self) -> None:
        """No hold any more. Raises OSError."""
        self._path.unlink(missing_ok=True)

    def read(self) -> Hold:
        """What is in force; a file that cannot be read holds nobody."""
        try:
            told = json.loads(self._path.read_text(encoding="ascii"))
            hold = Hold(float(told["until"]), told["turn_away"] is True)
        except FileNotFoundError:
            return _NONE
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            _log.warning("%s cannot be read: %s", self._path, type(error).__name__)
            return _NONE
        return hold if math.isfinite(hold.until) else _NONE

    def look(self, before: Hold, tell: Callable[[float, bool], None]) -> Hold:
        """Tell (seconds left, whether to turn away) if anything has changed since `before`; returns what is so now."""
        now = self.read()
        if now != before:
            tell(now.left_s(self._clock()), now.turn_away)
            _log.info("%s", f"nobody is admitted for {now.left_s(self._clock()):.0f} s" if now.until else "hold ended")
        return now

    def watch(self, tell: Callable[[float, bool], None], *, every_s: float = _LOOK_EVERY_S) -> None:
        """Look again and again, from a thread that ends with the process."""
        threading.Thread(target=self._watch, args=(tell, every_s), name="watch-hold", daemon=True).start()

    def _watch(self, tell: Callable[[float, bool], None], every_s: float) -> None:
        known, pause = _NONE, threading.Event()
        while True:
            known = self.look(known, tell)
            pause.wait(every_s)
