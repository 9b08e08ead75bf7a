"""GET /api/extra/perf: koboldcpp's report on its slot, told of this proxy's gate and of the asking key's own runs."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chatproxy.core.generation import Finished
from chatproxy.core.slots import GateStatus

_MOST_OWNERS = 1024
# koboldcpp's stop reasons. "stop" is an end token or a stop sequence; which of them, engines do not all tell.
_STOP_REASONS = {"cancelled": -1, "length": 0, "stop": 1}


@dataclass(frozen=True, slots=True)
class _Last:
    generations: int
    finished: Finished
    eval_s: float
    at: float


class Performance:
    """Remembers each key's last generation: nobody sees how long somebody else's answers are."""

    def __init__(self, gate: Callable[[], GateStatus], clock: Callable[[], float] = time.monotonic) -> None:
        """`gate` tells how busy the engine is; `clock` gives seconds."""
        self._gate, self._clock = gate, clock
        self._started = clock()
        self._last: OrderedDict[str, _Last] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, owner: str, finished: Finished, eval_s: float) -> None:
        """`owner`'s generation has ended; `eval_s`: seconds from its first token to its last."""
        with self._lock:
            before = self._last.pop(owner, None)
            count = before.generations if before else 0
            self._last[owner] = _Last(count + 1, finished, eval_s, self._clock())
            while len(self._last) > _MOST_OWNERS:
                self._last.popitem(last=False)

    def report(self, owner: str) -> dict[str, Any]:
        """koboldcpp's fields. Times in seconds, `last_eval` in milliseconds a token; 0 where nothing is known.

        Reading the prompt is not timed here (an engine behind a queue does not tell when it begins): always 0.
        """
        with self._lock:
            last = self._last.get(owner)
        gate, now = self._gate(), self._clock()
        usage = last.finished.usage if last else None
        tokens = (usage.completion_tokens if usage else None) or 0
        eval_s = last.eval_s if last else 0.0
        return {
            "last_process": 0.0,
            "last_eval": 1000 * eval_s / tokens if tokens else 0.0,
            "last_token_count": tokens,
            "last_input_count": (usage.prompt_tokens if usage else None) or 0,
            "last_process_time": 0.0,
            "last_eval_time": eval_s,
            "last_process_speed": 0.0,
            "last_eval_speed": tokens / eval_s if eval_s else 0.0,
            "last_seed": -1,
            "total_gens": last.generations if last else 0,
            "stop_reason": _STOP_REASONS[last.finished.reason] if last else -1,
            "total_img_gens": 0,
            "total_tts_gens": 0,
            "total_transcribe_gens": 0,
            "queue": gate.waiting,
            "idle": int(gate.busy < gate.slots),
            "hordeexitcounter": -1,
            "uptime": now - self._started,
            "idletime": now - (last.at if last else self._started),
            "quiet": True,
        }
