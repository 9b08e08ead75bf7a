"""What a Dockerfile ships: the instructions of the stages that its last one, or a target, stands on."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CONTINUED = re.compile(r"\\\s*\n")
_FROM = re.compile(r"(?i)^(\S+)(?:\s+AS\s+(\S+))?$")
_ARGUMENT = re.compile(r"\$\{(\w+)\}")
_INSTALLED = re.compile(r"apt-get install ((?:[^&|;]|\n)+)")


@dataclass(frozen=True)
class Shipped:
    """`base`: the image from elsewhere at the bottom; `instructions`: (NAME, rest of the line), the oldest first."""

    base: str
    instructions: tuple[tuple[str, str], ...]

    def last(self, name: str) -> str:
        """The one that counts of instructions like USER; "" where there is none."""
        return next((rest for given, rest in reversed(self.instructions) if given == name), "")

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages that are installed by name."""
        runs = (rest for name, rest in self.instructions if name == "RUN")
        words = (word for run in runs for found in _INSTALLED.findall(run) for word in found.split())
        return tuple(sorted({word for word in words if re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", word)}))


def shipped(text: str, target: str = "") -> Shipped:
    """Of a Dockerfile with its arguments' defaults; `target` as in `docker build --target`, else the last stage.

    Stages that files are only copied from do not count. Raises KeyError for a target that is not there.
    """
    defaults: dict[str, str] = {}
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    current: list[tuple[str, str]] = []
    name = ""
    for instruction, rest in _instructions(text):
        if instruction == "FROM":
            match = _FROM.match(_filled(rest, defaults))
            if not match:
                raise ValueError(f"FROM {rest}")
            current, name = [], match[2] or f"#{len(stages)}"
            stages[name] = (match[1], current)
        elif instruction == "ARG" and not stages:
            key, _, value = rest.partition("=")
            defaults[key] = value
        else:
            current.append((instruction, rest))
    parent, instructions = stages[target or name]
    chain = [instructions]
    while parent in stages:
        parent, instructions = stages[parent]
        chain.insert(0, instructions)
    return Shipped(parent, tuple(one for instructions in chain for one in instructions))


def _instructions(text: str) -> list[tuple[str, str]]:
    # Comments may stand between the lines of one instruction.
    plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = (line.strip() for line in _CONTINUED.sub(" ", plain).splitlines())
    return [(name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line)]


def _filled(text: str, defaults: dict[str, str]) -> str:
    return _ARGUMENT.sub(lambda match: defaults.get(match[1], ""), text)
