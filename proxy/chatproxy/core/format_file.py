"""A prompt format as a file: TOML with these fields, the first four required.

    control         strings that the model reads as control tokens; broken up in untrusted text
    line_markers    plain-text role markers; broken up at the start of a line of untrusted text
    stops           strings that end an answer and are never shown
    template        Jinja, rendered once with: name (the bot's), system ("" for none), turns (each with role and text)
    inline_markers  plain-text role markers that count in mid-line too; broken up anywhere (default: none)
    turns           the order that the model was trained on: any (default), merged or alternating; see core.arrangement

The bot's greeting is the first of `turns`. Its persona is part of `system`, unless the template names `persona`; its
example dialogues come first among `turns`, unless the template names `examples` (a list of lists of turns).
`line_markers` and `stops` may use {{ name }}. Templates never write a beginning-of-sequence token in front: the engine
does.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chatproxy.core.arrangement import ORDERS, Order
from chatproxy.errors import ConfigurationError

# A prompt is plain text, not HTML: escaping would change it. Values are never rendered themselves, so text that
# looks like a template stays text.
_JINJA = ImmutableSandboxedEnvironment(autoescape=False, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)

_REQUIRED = {"control": list, "line_markers": list, "stops": list, "template": str}
_OPTIONAL = {"inline_markers": list, "turns": str}


@dataclass(frozen=True, slots=True)
class FormatFile:
    """The fields of one file, each of its type."""

    path: Path
    control: tuple[str, ...]
    line_markers: tuple[str, ...]
    stops: tuple[str, ...]
    template: str
    inline_markers: tuple[str, ...] = ()
    turns: Order = "any"

    def names(self, variable: str) -> bool:
        """Whether the template uses the variable."""
        return variable in _variables(self.template)


@lru_cache(maxsize=256)
def compiled(template: str) -> jinja2.Template:
    """The template, ready to render; compiled once however many applications a process makes."""
    return _JINJA.from_string(template)


@lru_cache(maxsize=256)
def _variables(template: str) -> frozenset[str]:
    return frozenset(jinja2.meta.find_undeclared_variables(_JINJA.parse(template)))


def read(path: Path) -> FormatFile:
    """Raises ConfigurationError naming the file, and the field that is wrong."""
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"prompt format {path}: {error}") from error
    known = {**_REQUIRED, **_OPTIONAL}
    missing, unknown = _REQUIRED.keys() - fields.keys(), fields.keys() - known.keys()
    if missing or unknown:
        found = ", ".join([*(f"{name} is missing" for name in missing), *(f"there is no {name}" for name in unknown)])
        raise ConfigurationError(
            f"prompt format {path}: {found}; the fields are {', '.join(_REQUIRED)} and, if wanted, "
            f"{', '.join(_OPTIONAL)}"
        )
    for field, value in fields.items():
        if not (_is_texts(value) if known[field] is list else isinstance(value, str)):
            wanted = "a list of texts" if known[field] is list else "text"
            raise ConfigurationError(f"prompt format {path}: {field} must be {wanted}")
    if fields.get("turns", "any") not in ORDERS:
        raise ConfigurationError(f"prompt format {path}: turns must be one of {', '.join(ORDERS)}")
    values: dict[str, Any] = {name: tuple(v) if known[name] is list else v for name, v in fields.items()}
    return FormatFile(path, **values)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
