"""Bots as YAML files, one per bot: compose/bots/NAME.yaml. A changed file counts from the next question on.

Fields (all optional but `name`):

    name         what the bot is called, also in prompts that name the speaker
    system       instructions
    persona      who the bot is; put behind the instructions, or where the format has a place for it
    greeting     its opening words, the first turn of every conversation
    format       a prompt format's name, or "auto" (default): the one that fits the appliance's model
    sampling     factual, balanced (default) or creative
    max_tokens   longest answer, in tokens (default 512)
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from chatproxy.core.types import Bot
from chatproxy.errors import ConfigurationError, NotFound

_log = logging.getLogger(__name__)
_FIELDS = ("name", "system", "persona", "greeting", "format", "sampling", "max_tokens")
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# A name is written into prompts as a role ("NAME:"), so it must be one line and no marker itself.
_NAME = re.compile(r"[^\x00-\x1f\x7f:<>|\[\]{}]{1,60}")
_MAX_TOKENS = range(1, 8193)


class BotFiles:
    """Implements core.ports.Bots over a folder of YAML files."""

    def __init__(self, folder: Path, *, formats: Collection[str], presets: Collection[str]) -> None:
        """Reads every file at once, so that a broken one is in the log before anybody asks for it.

        One broken bot must not silence the others. Raises ConfigurationError where the folder itself is missing.
        """
        self._folder, self._formats, self._presets = folder, formats, presets
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, Bot]] = {}
        if not folder.is_dir():
            raise ConfigurationError(f"BOTS_DIR: there is no folder {folder}")
        for path in sorted(folder.glob("*.yaml")):
            if not _ID.fullmatch(path.stem):
                _log.error("%s: a bot's file name is lower-case letters, digits, '-' and '_'; it is not offered", path)
                continue
            try:
                self._known[path.stem] = (path.stat().st_mtime_ns, self._read(path))
            except ConfigurationError as error:
                _log.error("%s; it is not offered", error)

    def get(self, bot_id: str) -> Bot:
        """See core.ports.Bots. A file broken by a change is reported in the log; the last good one stays in use."""
        path = self._folder / f"{bot_id}.yaml"
        if not _ID.fullmatch(bot_id) or not path.is_file():
            raise NotFound(f"no bot {bot_id!r} in {self._folder}", public="There is no bot of that name.")
        changed = path.stat().st_mtime_ns
        with self._lock:
            known = self._known.get(bot_id)
            if known and known[0] == changed:
                return known[1]
            try:
                bot = self._read(path)
            except ConfigurationError as error:
                _log.error("%s; %s", error, "its last good version stays in use" if known else "it is not offered")
                if not known:
                    raise NotFound(str(error), public="This bot's file is broken; the log says where.") from None
                bot = known[1]
            self._known[bot_id] = (changed, bot)
            return bot

    def _read(self, path: Path) -> Bot:
        try:
            text = path.read_text(encoding="utf-8")
            fields = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigurationError(f"{path}, line {line}: {error.problem}") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigurationError(f"{path}: {error}") from None
        if not isinstance(fields, dict):
            raise ConfigurationError(f"{path}, line 1: a bot is a list of 'field: value' lines")
        for field, value in fields.items():
            problem = self._problem(field, value)
            if problem:
                raise ConfigurationError(f"{path}, line {_line_of(text, field)}: {problem}")
        if "name" not in fields:
            raise ConfigurationError(f"{path}, line 1: name is missing")
        stripped: dict[str, Any] = {k: v.strip() if isinstance(v, str) else v for k, v in fields.items()}
        return Bot(id=path.stem, **stripped)

    def _problem(self, field: Any, value: Any) -> str:
        """What is wrong with one field, or nothing."""
        if field not in _FIELDS:
            return f"{field!r} is not a field of a bot; fields are {', '.join(_FIELDS)}"
        if field == "max_tokens":
            good = isinstance(value, int) and not isinstance(value, bool) and value in _MAX_TOKENS
            return "" if good else f"max_tokens is {value!r}, not a whole number from 1 to {_MAX_TOKENS[-1]}"
        if not isinstance(value, str):
            return f"{field} is {value!r}, not text"
        if field == "name" and not _NAME.fullmatch(value.strip()):
            return "name is 1 to 60 characters in one line, without : < > | [ ] { }"
        if field == "format" and value not in {"auto", *self._formats}:
            return f"there is no prompt format {value!r}; known are auto, {', '.join(sorted(self._formats))}"
        if field == "sampling" and value not in self._presets:
            return f"there is no sampling preset {value!r}; known are {', '.join(sorted(self._presets))}"
        return ""


def _line_of(text: str, field: Any) -> int:
    """The line on which a top-level field stands."""
    before = re.search(rf"(?m)^['\"]?{re.escape(str(field))}['\"]?\s*:", text)
    return text.count("\n", 0, before.start()) + 1 if before else 1
