"""Prompt formats: how one model family wants system text and turns written down.

A format is one TOML file in chatproxy/formats/ with these fields, all required:

    control       strings that the model reads as control tokens; broken up in untrusted text
    line_markers  plain-text role markers; broken up at the start of a line of untrusted text
    stops         strings that end an answer and are never shown
    template      Jinja, rendered once with: name (the bot's), system ("" for none), turns (role, text)

`line_markers` and `stops` may use {{ name }}. Templates never write a beginning-of-sequence token: the engine does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chatproxy.core.neutral import KNOWN_CONTROL, Neutraliser
from chatproxy.core.types import Turn
from chatproxy.errors import ConfigurationError

BUILT_IN = Path(__file__).resolve().parent.parent / "formats"
_FIELDS = {"control": list, "line_markers": list, "stops": list, "template": str}

# A prompt is plain text, not HTML: escaping would change it. Values are never rendered themselves, so text that
# looks like a template stays text.
_JINJA = ImmutableSandboxedEnvironment(autoescape=False, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's text and the strings that end its answer."""

    text: str
    stops: tuple[str, ...]


class PromptFormat:
    """One format, bound to every control string that may reach the tokenizer."""

    def __init__(self, name: str, fields: Mapping[str, Any], control: frozenset[str]) -> None:
        self.name = name
        self._control = control
        self._markers = [_JINJA.from_string(text) for text in fields["line_markers"]]
        self._stops = [_JINJA.from_string(text) for text in fields["stops"]]
        self._template = _JINJA.from_string(fields["template"])
        self._neutraliser_for = lru_cache(maxsize=64)(self._make_neutraliser)

    def render(self, *, name: str, system: str, turns: Sequence[Turn]) -> Prompt:
        """Write `turns` down, neutralised. `name` and `system` come from the operator and are taken as they are."""
        neutral = self._neutraliser_for(name)
        safe = [Turn(turn.role, neutral(turn.text)) for turn in turns]
        text = self._template.render(name=name, system=system, turns=safe)
        return Prompt(text, tuple(stop.render(name=name) for stop in self._stops))

    def _make_neutraliser(self, name: str) -> Neutraliser:
        return Neutraliser(self._control, (marker.render(name=name) for marker in self._markers))


class Formats:
    """All formats of a folder, by name."""

    def __init__(self, folder: Path = BUILT_IN) -> None:
        """Raises ConfigurationError naming the file that cannot be used."""
        files = {path.stem: _read(path) for path in sorted(folder.glob("*.toml"))}
        if not files:
            raise ConfigurationError(f"no prompt formats (*.toml) in {folder}")
        # A model knows its own control tokens whatever format a bot picks, so every format guards against all of them.
        control = KNOWN_CONTROL.union(string for fields in files.values() for string in fields["control"])
        try:
            self._formats = {name: PromptFormat(name, fields, control) for name, fields in files.items()}
        except jinja2.TemplateError as error:
            raise ConfigurationError(f"a prompt format in {folder} has a bad template: {error}") from error

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._formats)

    def get(self, name: str) -> PromptFormat:
        """Raises ConfigurationError for a name that is not there, listing those that are."""
        try:
            return self._formats[name]
        except KeyError:
            known = ", ".join(sorted(self._formats))
            raise ConfigurationError(f"there is no prompt format {name!r}; known are: {known}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"prompt format {path}: {error}") from error
    if fields.keys() != _FIELDS.keys():
        raise ConfigurationError(f"prompt format {path}: the fields must be {', '.join(_FIELDS)}")
    for field, kind in _FIELDS.items():
        if not (_is_texts(fields[field]) if kind is list else isinstance(fields[field], str)):
            wanted = "a list of texts" if kind is list else "text"
            raise ConfigurationError(f"prompt format {path}: {field} must be {wanted}")
    return fields


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
