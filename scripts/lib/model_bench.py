"""`make bench-model`: rounds of engine and appliance in turn, medians, and the file that they are kept in."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib import log
from scripts.lib.failure import Failure

#: Of the JSON; another number when a figure gets another meaning or name.
SCHEMA = 1
LEVELS = (1, 4, 8)

# name, unit, digits, where it lies in one side's results
_ROWS: tuple[tuple[str, str, int, tuple[str, ...]], ...] = (
    ("prompt read", "tokens/s", 1, ("read",)),
    ("answer, one visitor", "tokens/s", 1, ("generated",)),
    ("first token, cold", "s", 2, ("cold",)),
    ("first token, warm", "s", 2, ("warm",)),
    *(
        row
        for n in LEVELS
        for row in (
            (f"all answers, {n} at once", "tokens/s", 1, ("visitors", str(n), "together")),
            (f"first token, {n} at once", "s", 2, ("visitors", str(n), "first")),
            (f"  the slowest of {n}", "s", 2, ("visitors", str(n), "slowest")),
        )
    ),
)


@dataclass(frozen=True)
class Load:
    """What each visitor asks for, in tokens; `rounds` count, one more before them warms up."""

    prompt: int
    tokens: int
    rounds: int

    def as_json(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "tokens": self.tokens, "rounds": self.rounds, "visitors": list(LEVELS)}


Visit = Callable[[], dict[str, Any]]


def measure(engine: Visit, stack: Visit, rounds: int, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """[{"engine": ..., "stack": ...}] of each round, in turn who is first, so that drift meets both."""
    found = []
    for number in range(rounds + 1):
        order = [("engine", engine), ("stack", stack)]
        one = {name: visit() for name, visit in (order if number % 2 else reversed(order))}
        what = f"round {number} of {rounds}" if number else "warming up"
        alone, whole = one["engine"], one["stack"]
        pairs = ("prompts", "read", 0, "tokens/s"), ("answers", "generated", 1, "tokens/s"), ("cold", "cold", 2, "s")
        shown = [f"{title} {alone[key]:.{n}f} and {whole[key]:.{n}f} {unit}" for title, key, n, unit in pairs]
        tell(f"{what}, engine and whole stack: {', '.join(shown)}")
        if number:
            found.append(one)
    return found


def medians(rounds: Sequence[Any]) -> Any:
    """Figure by figure, however deep they lie."""
    if isinstance(rounds[0], Mapping):
        return {name: medians([one[name] for one in rounds]) for name in rounds[0]}
    return statistics.median(rounds)


def at(results: Mapping[str, Any], path: Sequence[str]) -> float | None:
    value: Any = results
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) else None


def table(run: Mapping[str, Any], other: Mapping[str, Any] | None = None) -> list[str]:
    """The figures in columns: this run's engine and whole stack, then another run's."""
    sides = [(run, "engine", "engine"), (run, "stack", "whole stack")]
    if other:
        sides += [(other, "engine", "other engine"), (other, "stack", "other stack")]
    lines = [f"{'':<28}" + "".join(f"{title:>14}" for _, _, title in sides)]
    for name, unit, digits, path in _ROWS:
        values = [at(of["results"][side], path) for of, side, _ in sides]
        shown = "".join(f"{'-' if value is None else format(value, f'.{digits}f'):>14}" for value in values)
        lines.append(f"{name:<28}{shown}  {unit}")
    memory = [of["memory"].get("engine" if side == "engine" else "all", 0) for of, side, _ in sides]
    lines.append(f"{'memory':<28}" + "".join(f"{log.size(value) if value else '-':>14}" for value in memory))
    return lines


def describe(run: Mapping[str, Any]) -> list[str]:
    """Machine, engine, model and settings in a few lines."""
    machine, engine, model, load = run["machine"], run["engine"], run["model"], run["load"]
    settings = ", ".join(f"{name}={value}" for name, value in run["settings"].items())
    rounds = "one round" if load["rounds"] == 1 else f"medians of {load['rounds']} rounds"
    return [
        f"{machine['cpu']}, {machine['cores']} cores ({machine['cpus']} CPUs), {log.size(machine['memory'])} of memory "
        f"({machine['bandwidth'] / 1e9:.1f} GB/s by one core), {machine['system']}",
        f"{engine['name']} {engine['version']}, {model['name']} ({model['quantisation']}, {log.size(model['size'])})",
        settings,
        f"questions of about {load['prompt']} tokens, answers of up to {load['tokens']}, {rounds}, {run['date']}",
    ]


def load_other(path: str) -> dict[str, Any]:
    """The run that COMPARE names. Failure where it is none, or of another schema."""
    hint = "name a .json that `make bench-model` wrote"
    try:
        run: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        schema = run["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure("bench.compare_unreadable", f"COMPARE={path}: {type(error).__name__}: {error}", hint) from error
    if schema != SCHEMA:
        fact = f"COMPARE={path} has schema {schema}, this program writes {SCHEMA}: their figures differ in meaning"
        raise Failure("bench.compare_schema", fact, "measure that machine again with this version")
    try:
        # All that will be shown of it, before anything is measured.
        _ = describe(run), table(run, run), differences(run, run)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        fact = f"COMPARE={path} is not whole: {type(error).__name__}: {error}"
        raise Failure("bench.compare_unreadable", fact, hint) from error
    return run


def differences(run: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What keeps two runs from being compared figure by figure."""
    found = []
    for name in ("prompt", "tokens"):
        if run["load"][name] != other["load"][name]:
            found.append(f"{name}: {run['load'][name]} tokens here, {other['load'][name]} there")
    if run["model"]["name"] != other["model"]["name"]:
        found.append(f"model: {run['model']['name']} here, {other['model']['name']} there")
    return found
