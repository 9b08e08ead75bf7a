"""What this image holds: koboldcpp's version, the backend it was built for, and the flags it understands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GPU_BACKENDS = ("clblast", "cuda", "vulkan")


@dataclass(frozen=True)
class Flag:
    """One flag of koboldcpp's.

    Attributes:
        names: all spellings, the usual one first.
        arity: how many values follow: a number, or ``?`` (none or one), ``*`` (any), ``+`` (at least one).
        kind: "int", "float" or "str".
        choices: the values it takes; empty where it takes any.
    """

    names: tuple[str, ...]
    arity: str = "1"
    kind: str = "str"
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.names[0]

    def takes(self, value: str) -> bool:
        """Whether koboldcpp would accept this value."""
        if self.choices and value not in self.choices:
            return False
        if self.kind == "str":
            return True
        try:
            int(value) if self.kind == "int" else float(value)
        except ValueError:
            return False
        return True


@dataclass(frozen=True)
class Build:
    """The installed koboldcpp."""

    version: str
    backend: str
    flags: tuple[Flag, ...] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Build:
        """Read what `describe` wrote."""
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Build:
        flags = tuple(
            Flag(tuple(flag["names"]), flag["arity"], flag["kind"], tuple(flag["choices"])) for flag in value["flags"]
        )
        return cls(value["version"], value["backend"], flags)

    def find(self, name: str) -> Flag | None:
        return next((flag for flag in self.flags if name in flag.names), None)

    def has(self, name: str) -> bool:
        return self.find(name) is not None

    @property
    def names(self) -> list[str]:
        return [name for flag in self.flags for name in flag.names]

    @property
    def is_gpu(self) -> bool:
        return self.backend in GPU_BACKENDS
