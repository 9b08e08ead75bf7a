"""Reads an operator's words as koboldcpp's own parser would, translates what changed and refuses the rest by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tomllib

from .build import Build, Flag
from .refusal import RefusedError

#: The flags that choose where the model is computed, and how many values each takes. They are read apart from the
#: others because an old launch line may name a backend that this image was not built for.
BACKEND_FLAGS = {
    "--usecuda": Flag(("--usecuda", "--usecublas", "--usehipblas"), "*"),
    "--usevulkan": Flag(("--usevulkan",), "*", "int"),
    "--useclblast": Flag(("--useclblast",), "2", "int"),
    "--usecpu": Flag(("--usecpu",), "0"),
    "--noblas": Flag(("--noblas",), "0"),
}
_NEGATIVE_NUMBER = re.compile(r"-\d+(\.\d+)?")


@dataclass(frozen=True)
class Policy:
    """policy.toml, which says what each table means."""

    refused: Mapping[str, str]
    ours: Mapping[str, str]
    gone: Mapping[str, Mapping[str, str | int]]
    renamed: Mapping[str, str]
    advice: Mapping[str, str]

    @classmethod
    def load(cls) -> Policy:
        return cls(**tomllib.loads(Path(__file__).with_name("policy.toml").read_text(encoding="utf-8")))


@dataclass
class Request:
    """What an operator's words ask for.

    Attributes:
        flags: flags of the installed version by their usual name, each with its values.
        backend: the backend flag that was asked for, by its newest name, with its values.
        model: a model named without a flag, as old launch lines do, or by ``--model``.
        warnings: one sentence for each word that was not taken as it stands.
    """

    flags: dict[str, list[str]] = field(default_factory=dict)
    backend: tuple[str, list[str]] | None = None
    model: str | None = None
    warnings: list[str] = field(default_factory=list)


class Reader:
    """Reads words for one build. Later words win over earlier ones, as in koboldcpp itself."""

    def __init__(self, build: Build, policy: Policy) -> None:
        self.build = build
        self.policy = policy
        self.request = Request()

    def read(self, words: Sequence[str]) -> None:
        """Add `words` to the request.

        Raises:
            RefusedError: a word is not for the operator to set, unknown to this version, or has a wrong value.
        """
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if not is_flag(word):
                self._take_positional(word)
                continue
            name, equals, value = word.partition("=")
            if equals:
                rest.insert(0, value)
            unread = len(rest)
            self._take_flag(name, rest)
            if equals and len(rest) == unread:
                raise RefusedError(f"{name} takes no value, so {word} makes no sense")

    def _take_positional(self, word: str) -> None:
        if self.request.model is not None:
            raise RefusedError(f"{word!r} stands alone: neither a flag nor a flag's value")
        self.request.model = word

    def _take_flag(self, name: str, rest: list[str]) -> None:
        flag = self.build.find(name)
        usual = flag.name if flag else name
        for spelling in (name, usual):
            if spelling in self.policy.refused:
                raise RefusedError(
                    f"{name} is not for KOBOLDCPP_ARGS or LAUNCH_COMMAND: {self.policy.refused[spelling]}"
                )
        backend = next((b for b in BACKEND_FLAGS.values() if name in b.names), None)
        if backend:
            self.request.backend = (backend.name, _values(backend, name, rest))
            return
        if flag and usual == "--model":
            self.request.model = _values(flag, name, rest)[0]
            return
        other = self.policy.renamed.get(name)
        if flag is None and other and self.build.has(other):
            self._warn(f"{name} is called {other} in koboldcpp {self.build.version}")
            flag = self.build.find(other)
        if flag is None:
            self._take_gone(name, rest)
            return
        values = _values(flag, name, rest)
        if usual in self.policy.ours:
            self._warn(f"{name} dropped: {self.policy.ours[usual]}")
            return
        if usual in self.policy.advice:
            self._warn(f"{name}: {self.policy.advice[usual]}")
        self.request.flags[flag.name] = values

    def _take_gone(self, name: str, rest: list[str]) -> None:
        gone = self.policy.gone.get(name)
        if gone is None:
            raise RefusedError(self._unknown(name))
        for _ in range(int(gone["arity"])):
            if rest and not is_flag(rest[0]):
                rest.pop(0)
        self._warn(f"{name} dropped, koboldcpp {self.build.version} does not have it: {gone['because']}")

    def _unknown(self, name: str) -> str:
        usable = [known for known in self.build.names if known not in self.policy.refused]
        nearest = difflib.get_close_matches(name, usable, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        return f"koboldcpp {self.build.version} has no flag {name}{hint}"

    def _warn(self, text: str) -> None:
        self.request.warnings.append(text)


def is_flag(word: str) -> bool:
    """Whether argparse would take the word for a flag: negative numbers are values."""
    return word.startswith("-") and word != "-" and not _NEGATIVE_NUMBER.fullmatch(word)


def _values(flag: Flag, name: str, rest: list[str]) -> list[str]:
    """Take the flag's values off the front of `rest`."""
    least, most = _bounds(flag.arity)
    values: list[str] = []
    while rest and len(values) < most and not is_flag(rest[0]):
        # Where a value may be missing, a word that cannot be one belongs to somebody else: a model's name, mostly.
        if len(values) >= least and not flag.takes(rest[0]):
            break
        values.append(rest.pop(0))
    if len(values) < least:
        raise RefusedError(f"{name} needs {least} value{'s' if least > 1 else ''}, got {len(values)}")
    for value in values:
        if not flag.takes(value):
            allowed = ", ".join(flag.choices) or f"a value of type {flag.kind}"
            raise RefusedError(f"{name} {value}: {name} takes {allowed}")
    return values


def _bounds(arity: str) -> tuple[int, int]:
    match arity:
        case "?":
            return 0, 1
        case "*":
            return 0, 1000
        case "+":
            return 1, 1000
    return int(arity), int(arity)
