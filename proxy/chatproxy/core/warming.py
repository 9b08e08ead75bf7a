"""Warm start: what every conversation with a bot begins with (system text, persona, greeting) is read by the engine
before the first visitor comes: after a start, after the engine's restart with whatever model, after a bot has changed.

Only while nobody else wants anything: warming takes no place at the gate, ends as soon as anybody comes, and counts
nowhere. What it had read by then is not lost: engines keep the beginning of a prompt that was broken off.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

from chatproxy.core.ports import Bots
from chatproxy.core.prompts import Formats
from chatproxy.core.slots import GateStatus
from chatproxy.core.types import Finish, Generation
from chatproxy.core.warm_ports import CacheState, Warmable
from chatproxy.errors import ChatProxyError, ConfigurationError, Unhealthy

_log = logging.getLogger(__name__)
# How often is looked whether there is anything to read: an engine that was restarted, a bot that was changed.
_EVERY_S = 3.0
# A bot whose beginning the engine has refused so often is left alone until the engine or the bot is another one.
_MOST_FAILURES = 3
# How long the end of the process waits for a reading to be given up.
_LAST_READ_S = 2.0


class Warming:
    """Keeps one engine warm, on a thread of its own."""

    def __init__(
        self,
        engine: Warmable,
        bots: Bots,
        formats: Formats,
        gate: Callable[[], GateStatus],
        context_size: Callable[[], int],
        *,
        default_bot: str,
        every_s: float = _EVERY_S,
    ) -> None:
        """`gate` tells whether anybody wants anything, `context_size` (tokens) raises EngineFailure."""
        self._engine, self._bots, self._formats = engine, bots, formats
        self._gate, self._context_size = gate, context_size
        self._default_bot, self._every_s = default_bot, every_s
        self._age, self._orders = -1, 0
        self._read: dict[str, str] = {}  # by bot: the beginning that the engine has read
        self._failures: dict[tuple[str, str], int] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"warm-{engine.name}", daemon=True)

    def start(self) -> None:
        """Begin, on a thread that nobody has to wait for."""
        self._thread.start()

    def stop(self) -> None:
        """Give up what is being read; takes a few seconds at most."""
        self._ending.set()
        self._thread.join(_LAST_READ_S)

    def look(self) -> None:
        """Have the engine read what it has not read, as long as nobody else wants anything."""
        try:
            self._engine.check()
        except Unhealthy:
            self._forget()
            return
        if not self._idle():
            return
        state = self._engine.cache()
        if state and state.age < self._age:
            self._forget()
        self._note(state)
        orders = self._orders
        warm = all(self._warm(bot, beginning) for bot, beginning in self._beginnings())
        if warm and state and state.empty_slots:
            self._fill_slots()
        if self._orders > orders:  # which has made it older
            self._note(self._engine.cache())

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self.look()
            except Exception as error:  # one defect must not end all warming; its text could hold anything
                _log.error("internal_error: %s could not be warmed: %s", self._engine.name, type(error).__name__)
            self._ending.wait(self._every_s)

    def _idle(self) -> bool:
        status = self._gate()
        return not (status.busy or status.waiting or self._ending.is_set())

    def _forget(self) -> None:
        self._age = -1
        self._read.clear()
        self._failures.clear()

    def _note(self, state: CacheState | None) -> None:
        if state:
            self._age = state.age

    def _beginnings(self) -> Iterator[tuple[str, str]]:
        """Bots with what their conversations begin with; the default one last.

        An engine that keeps one prompt has that of the likeliest visitor then.
        """
        for bot in sorted(self._bots.all(), key=lambda bot: (bot.id == self._default_bot, bot.id)):
            try:
                beginning = self._formats.get(bot.format).beginning(bot)
            except ConfigurationError:
                continue  # whoever asks this bot is told why
            if beginning:
                yield bot.id, beginning

    def _warm(self, bot: str, beginning: str) -> bool:
        """Whether the engine has read this bot's beginning, or never will."""
        if self._read.get(bot) == beginning:
            return True
        failures = self._failures.get((bot, beginning), 0)
        if failures >= _MOST_FAILURES:
            return True
        try:
            if not self._has_read(beginning):
                return False
        except ChatProxyError as error:
            self._failures[bot, beginning] = failures + 1
            # Not the engine's own words: some repeat the prompt.
            _log.warning("%s: the bot %s could not be warmed: %s", self._engine.name, bot, error.code)
            return False
        _log.info("%s: the bot %s is warm", self._engine.name, bot)
        self._read[bot] = beginning
        if bot != self._default_bot:
            self._read.pop(self._default_bot, None)  # it may have had to make room
        return True

    def _fill_slots(self) -> None:
        """Have slots that nobody has used read the default bot's beginning too, for visitors who come together."""
        beginning, state = self._read.get(self._default_bot), self._engine.cache()
        for slot in state.empty_slots if state and beginning else ():
            try:
                if not self._has_read(beginning or "", slot):
                    return
            except ChatProxyError as error:
                _log.info("%s: slot %d stays cold: %s", self._engine.name, slot, error.code)
                return

    def _has_read(self, beginning: str, slot: int | None = None) -> bool:
        """Have the engine read; False where that was given up for somebody. Raises as Engine.generate does."""
        if not self._idle():
            return False
        self._orders += 1
        generation = Generation(beginning, 1, context_size=self._context_size(), slot=slot)
        with closing(self._engine.generate(generation)) as events:
            for event in events:
                if isinstance(event, Finish):
                    return True
                if not self._idle():
                    return False
        return False
