"""Bots as YAML files, one per bot: compose/bots/NAME.yaml. A changed file counts from the next question on.

Fields (all optional but `name`):

    name            what the bot is called, also in prompts that name the speaker
    system          instructions
    persona         who the bot is; put behind the instructions, or where the format has a place for it
    examples        list of dialogues that show how the bot talks, each a list of `user: ...` and `bot: ...` entries
    greeting        its opening words, the first turn of every conversation
    format          a prompt format's name, or "auto" (default): the one that fits the appliance's model
    sampling        factual, balanced (default) or creative
    max_tokens      longest answer, in tokens (default 512)
    max_message     longest question, in characters
    rules           list of `when: [phrases]` with `answer: ...`, which answers without the engine; the first one wins
    retention_days  how long conversations are kept, 1 to 3650 (default: for ever)

and for its chat window on web pages:

    quick_replies   questions offered to begin with, at most 8 of 80 characters
    languages       codes of the window's languages, as en, de, fr, es, lv; the first where none is the visitor's
    theme           accent and accent_text ("#rrggbb", in quotes; a contrast of 4.5:1 at least; accent_text is
                    black or white where it is not given), color_scheme (auto, light, dark), position (right, left)
    origins         web pages' origins whose visitors may talk to it, as https://example.com (default: any site key's)
    handoff_email   where visitors can have their conversation sent
    consent         what visitors have to agree to first
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from chatproxy.adapters.bot_fields import BotMistakes, BotReader
from chatproxy.core.types import Bot, BotProblem
from chatproxy.errors import ConfigurationError, NotFound

_log = logging.getLogger(__name__)
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_ID_IN_WORDS = "lower-case letters, digits, '-' and '_'"
_LARGEST_FILE = 256 * 1024  # bytes
_TOO_LARGE = f"it is larger than {_LARGEST_FILE} bytes"
# What tells two versions of a file apart: times of content and inode (a chmod changes the latter) in ns, and its size.
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Known:
    """A file as it was last looked at: the last good version, None where there has been none, and what is wrong now."""

    stamp: _Stamp
    bot: Bot | None
    problem: str = ""
    mistakes: tuple[tuple[int, str], ...] = ()


class BotFiles:
    """Implements core.ports.Bots over a folder of YAML files."""

    def __init__(self, folder: Path, *, formats: Collection[str], presets: Collection[str]) -> None:
        """Reads every file at once, so that a broken one is in the log before anybody asks for it.

        One broken bot must not silence the others. Raises ConfigurationError where the folder itself is missing.
        """
        self._folder, self._reader = folder, BotReader(formats, presets)
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        if not folder.is_dir():
            raise ConfigurationError(f"BOTS_DIR: there is no folder {folder}")
        for path in sorted(folder.glob("*.yaml")):
            if not _ID.fullmatch(path.stem):
                _log.error("%s: a bot's file name is %s; it is not offered", path, _ID_IN_WORDS)
        self.all()

    def get(self, bot_id: str) -> Bot:
        """See core.ports.Bots. A file broken by a change is reported in the log; the last good one stays in use."""
        known = self._look(bot_id) if _ID.fullmatch(bot_id) else None
        if known is None:
            raise NotFound(f"no bot {bot_id!r} in {self._folder}", public="There is no bot of that name.")
        if known.bot is None:
            raise NotFound(known.problem, public="This bot's file is broken; the log says where.")
        return known.bot

    def all(self) -> Sequence[Bot]:
        """See core.ports.Bots."""
        ids = sorted(path.stem for path in self._folder.glob("*.yaml") if _ID.fullmatch(path.stem))
        looked_at = [self._look(bot_id) for bot_id in ids]
        return [known.bot for known in looked_at if known and known.bot]

    def broken(self) -> Sequence[BotProblem]:
        """See core.ports.Bots."""
        found = []
        for path in sorted(self._folder.glob("*.yaml")):
            if not _ID.fullmatch(path.stem):
                found.append(BotProblem(path.stem, path.name, None, f"a bot's file name is {_ID_IN_WORDS}"))
                continue
            known = self._look(path.stem)
            for line, reason in known.mistakes if known else ():
                found.append(
                    BotProblem(path.stem, path.name, line, reason, in_use=known is not None and bool(known.bot))
                )
        return found

    def check(self, text: str) -> Bot | Sequence[BotProblem]:
        """See core.ports.Bots."""
        if len(text.encode()) > _LARGEST_FILE:
            return [BotProblem("", "", 1, _TOO_LARGE)]
        try:
            return self._reader.read("", text)
        except BotMistakes as error:
            return [BotProblem("", "", line, reason) for line, reason in error.mistakes]

    def _look(self, bot_id: str) -> _Known | None:
        """The file's newest version, read only where it has changed; None where there is no such file."""
        path = self._folder / f"{bot_id}.yaml"
        with self._lock:
            stamp = _stamp(path)
            if stamp is None:
                self._known.pop(bot_id, None)
                return None
            known = self._known.get(bot_id)
            if known is None or known.stamp != stamp:
                known = self._known[bot_id] = self._read(path, stamp, known.bot if known else None)
            return known

    def _read(self, path: Path, stamp: _Stamp, before: Bot | None) -> _Known:
        try:
            return _Known(stamp, self._reader.read(path.stem, _text_of(path)))
        except BotMistakes as error:
            problem = f"{path}, {error}"
            _log.error("%s; %s", problem, "its last good version stays in use" if before else "it is not offered")
            return _Known(stamp, before, problem, error.mistakes)


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size) if path.is_file() else None


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise BotMistakes([(1, f"it cannot be read: {error.strerror}")]) from None
    if len(content) > _LARGEST_FILE:
        raise BotMistakes([(1, _TOO_LARGE)])
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BotMistakes([(line, "it is not UTF-8")]) from None
