"""What a client sent: the raw request, and the generation parameters as koboldcpp reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .dialects import Dialect

_INTEGERS = {"max_length": 150, "top_k": 100, "rep_pen_range": 256, "mirostat": 0}
_FLOATS = {
    "temperature": 0.7,
    "top_p": 0.92,
    "top_a": 0.0,
    "min_p": 0.0,
    "typical": 1.0,
    "tfs": 1.0,
    "rep_pen": 1.0,
    "rep_pen_slope": 1.0,
    "presence_penalty": 0.0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "dynatemp_range": 0.0,
    "smoothing_factor": 0.0,
}
_TEXTS = ("prompt", "memory", "grammar", "genkey")


@dataclass(frozen=True)
class RecordedRequest:
    """One HTTP request as it arrived. `json` is None where the body is no JSON."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes
    json: Any


def decode_json(body: bytes | None) -> Any:
    """The body's JSON value, or None where there is none."""
    try:
        return json.loads(body or b"")
    except ValueError:
        return None


@dataclass(frozen=True)
class GenerationParameters:
    """A generation request's fields that change what the double does. Lengths are in tokens."""

    prompt: str
    memory: str
    max_length: int
    max_context_length: int
    stop_sequence: tuple[str, ...]
    trim_stop: bool
    ban_eos_token: bool
    genkey: str
    images: tuple[str, ...]
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, fields: Mapping[str, Any], dialect: Dialect, context_size: int) -> GenerationParameters:
        """Read the fields as `dialect` does.

        Raises:
            TypeError: a value's type is one that this version dies of (it then answers 200 `null`).
        """
        for name in _TEXTS:
            if not isinstance(fields.get(name, ""), str):
                raise TypeError(f"{name} is not text")
        integers = {name: _integer(fields, name, default, dialect) for name, default in _INTEGERS.items()}
        for name, default in _FLOATS.items():
            _number(fields, name, default, dialect)
        context = _integer(fields, "max_context_length", context_size, dialect)
        return cls(
            prompt=fields.get("prompt", ""),
            memory=fields.get("memory", ""),
            max_length=integers["max_length"],
            max_context_length=min(context, context_size),
            stop_sequence=_stops(fields.get("stop_sequence")),
            trim_stop=bool(fields.get("trim_stop", False)),
            ban_eos_token=bool(fields.get("ban_eos_token", fields.get("use_default_badwordsids", False))),
            genkey=fields.get("genkey", ""),
            images=_images(fields.get("images")),
            raw=dict(fields),
        )


def _images(value: Any) -> tuple[str, ...]:
    """What is not text has no `encode`, of which koboldcpp dies."""
    if not all(isinstance(image, str) for image in value or ()):
        raise TypeError("images holds something that is not text")
    return tuple(value or ())


def _integer(fields: Mapping[str, Any], name: str, default: int, dialect: Dialect) -> int:
    value = fields.get(name, default)
    if dialect.parses_numbers:
        return int(_parsed(value, default))
    if not isinstance(value, int):  # a float too: the value goes into a C int unconverted
        raise TypeError(f"{name} is not an integer")
    return value


def _number(fields: Mapping[str, Any], name: str, default: float, dialect: Dialect) -> float:
    value = fields.get(name, default)
    if dialect.parses_numbers:
        return _parsed(value, default)
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} is not a number")
    return float(value)


def _parsed(value: Any, default: float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return default


def _stops(value: Any) -> tuple[str, ...]:
    """A plain string is taken letter by letter, as koboldcpp indexes whatever it is given."""
    if not value:
        return ()
    stops = tuple(value)
    if not all(isinstance(stop, str) for stop in stops):
        raise TypeError("stop_sequence holds something that is not text")
    return tuple(stop for stop in stops if stop)
