"""How figures are written: medians and far percentiles, each beside its goal."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence

median = statistics.median


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def counted(name: str, default: int) -> int:
    """How often something is done: an environment variable, for quick looks and for long ones."""
    return int(os.environ.get(name) or default)


def heading(text: str) -> None:
    """A table's title, with what else the machine was doing: figures of a busy one are indications."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    print(f"{text}\n  ({cores} cores, load before it {load:.1f})", flush=True)


def figure(
    name: str, value: float, unit: str, *, goal: float | None = None, least: float | None = None, digits: int = 1
) -> None:
    """One line; `goal` is an upper bound, `least` a lower one."""
    shown = f"  {name:<46}{value:12.{digits}f} {unit:<8}"
    if goal is not None:
        shown += f"goal <= {goal:g}   {'met' if value <= goal else 'MISSED'}"
    if least is not None:
        shown += f"goal >= {least:g}   {'met' if value >= least else 'MISSED'}"
    print(shown.rstrip(), flush=True)


def pairs(name: str, bare: Sequence[float], other: Sequence[float], *, p50: float | None, p99: float | None) -> None:
    """What `other` adds to `bare`, round by round. Times in seconds, goals in milliseconds."""
    added = [(b - a) * 1000 for a, b in zip(bare, other, strict=True)]
    low, high = median(bare) * 1000, median(other) * 1000
    print(f"  {name:<46}{low:9.1f} ms -> {high:.1f} ms, ratio {high / low:.3f}, {len(added)} rounds", flush=True)
    figure("  added, p50", median(added), "ms", goal=p50, digits=2)
    figure("  added, p99", percentile(added, 0.99), "ms", goal=p99, digits=2)
