"""Draws what `make bench-model` measured: `plot.py PREFIX < runs.json` writes PREFIX.png and PREFIX.svg.

stdin is a list of one run or two, as model_bench writes them; the second is the one that is compared with.
"""

from __future__ import annotations

import json
import sys
import textwrap
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

Run = dict[str, Any]

# Told apart by those who see no red and green too (Okabe and Ito), and by their filling in print.
ENGINE, STACK = "#0072B2", "#E69F00"
OTHER_ENGINE, OTHER_STACK = "#9CC8E0", "#F6D9A0"
GREY = "#555555"


def series(runs: list[Run]) -> list[tuple[str, str, Run, str]]:
    """(label, colour, run, side) of each bar or line, in one order everywhere."""
    named = [("engine alone", ENGINE, runs[0], "engine"), ("whole stack", STACK, runs[0], "stack")]
    if len(runs) > 1:
        named += [
            ("engine, compared", OTHER_ENGINE, runs[1], "engine"),
            ("stack, compared", OTHER_STACK, runs[1], "stack"),
        ]
    return named


def bars(axes: Axes, runs: list[Run], names: dict[str, str], title: str, unit: str, digits: int) -> None:
    """Groups of bars with their figures above; `names` is {label: key in the results}."""
    drawn = series(runs)
    width = 0.8 / len(drawn)
    highest = 0.0
    for place, (label, colour, run, side) in enumerate(drawn):
        values = [float(run["results"][side][key]) for key in names.values()]
        highest = max(highest, *values)
        at = [group + (place - (len(drawn) - 1) / 2) * width for group in range(len(names))]
        found = axes.bar(at, values, width * 0.94, color=colour, label=label)
        axes.bar_label(found, fmt=f"%.{digits}f", fontsize=8, padding=2, color=GREY)
    axes.set_xticks(range(len(names)), list(names))
    axes.set_xlim(-0.7, len(names) - 0.3)
    dress(axes, title, unit, highest)


def lines(axes: Axes, runs: list[Run], key: str, title: str, unit: str, *, until: str = "") -> None:
    """Over the number of visitors; with `until` a line up to that figure stands on each point."""
    highest = 0.0
    for label, colour, run, side in series(runs):
        visitors = run["results"][side]["visitors"]
        levels = sorted(map(int, visitors))
        values = [float(visitors[str(level)][key]) for level in levels]
        places = [str(level) for level in levels]
        # The engine's line is the broad one: the appliance's mostly lies upon it.
        broad = side == "engine"
        axes.plot(
            places,
            values,
            marker="o",
            color=colour,
            label=label,
            linewidth=5 if broad else 2,
            markersize=11 if broad else 6,
        )
        highest = max(highest, *values)
        if until:
            ends = [float(visitors[str(level)][until]) for level in levels]
            axes.plot(places, ends, marker="_", color=colour, linewidth=1, linestyle=":")
            highest = max(highest, *ends)
    axes.set_xlabel("visitors at once")
    dress(axes, title, unit, highest)


def memory(axes: Axes, runs: list[Run]) -> None:
    drawn = [
        (label, colour, run["memory"].get("engine" if side == "engine" else "all", 0))
        for label, colour, run, side in series(runs)
    ]
    values = [size / 2**30 for _, _, size in drawn]
    names = [label.replace(", ", ",\n").replace(" ", "\n", 1) for label, _, _ in drawn]
    found = axes.bar(names, values, 0.6, color=[colour for _, colour, _ in drawn])
    axes.bar_label(found, fmt="%.2f", fontsize=8, padding=2, color=GREY)
    axes.tick_params(axis="x", labelsize=8)
    dress(axes, "Memory in use", "GB", max(values))


def dress(axes: Axes, title: str, unit: str, highest: float) -> None:
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold")
    axes.set_ylabel(unit, color=GREY)
    axes.set_ylim(0, highest * 1.15 or 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=GREY)


def describe(run: Run) -> str:
    machine, engine, model, load = run["machine"], run["engine"], run["model"], run["load"]
    settings = ", ".join(f"{name}={value}" for name, value in run["settings"].items())
    memory = f"{machine['memory'] / 2**30:.0f} GB ({machine['bandwidth'] / 1e9:.0f} GB/s by one core)"
    rounds = "one round" if load["rounds"] == 1 else f"medians of {load['rounds']} rounds"
    asked = f"Questions of {load['prompt']} tokens, answers of up to {load['tokens']}, {rounds}"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {memory}. {engine['name']} {engine['version']}, {named(model)}. "
        f"{settings}. {asked}. {run['date']}"
    )


def named(model: dict[str, Any]) -> str:
    """The model's name, with its quantisation where the name does not tell it."""
    name, kind = str(model["name"]), str(model["quantisation"])
    return name if kind.lower() in name.lower() else f"{name} ({kind})"


def draw(runs: list[Run], prefix: str) -> None:
    """Write PREFIX.png and PREFIX.svg."""
    # Text stays text: it can be searched, and a reader's own fonts show it.
    plt.rcParams.update({"svg.fonttype": "none", "font.size": 9.5})
    figure, grid = plt.subplots(2, 3, figsize=(13, 8))
    bars(grid[0][0], runs, {"reading a prompt": "read"}, "Prompts", "tokens/s", 0)
    bars(grid[0][1], runs, {"writing one answer": "generated"}, "Answers", "tokens/s", 1)
    bars(grid[0][2], runs, {"cold": "cold", "warm": "warm"}, "First token", "seconds", 2)
    lines(grid[1][0], runs, "together", "All answers together", "tokens/s")
    lines(grid[1][1], runs, "first", "First token: median, dotted the slowest", "seconds", until="slowest")
    memory(grid[1][2], runs)
    model = runs[0]["model"]
    figure.suptitle(f"{named(model)} on {runs[0]['engine']['name']}", x=0.015, ha="left", fontsize=14)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(labels), frameon=False, bbox_to_anchor=(0.99, 0.985))
    notes = [describe(runs[0])] + [f"Compared with: {describe(run)}" for run in runs[1:]]
    text = "\n".join("\n".join(textwrap.wrap(note, 175)) for note in notes)
    figure.text(0.015, 0.012, text, fontsize=8, color=GREY, va="bottom")
    figure.tight_layout(rect=(0, 0.03 + 0.02 * text.count("\n") + 0.015, 1, 0.95), w_pad=2.5, h_pad=2.5)
    for ending in ("png", "svg"):
        figure.savefig(f"{prefix}.{ending}", dpi=130)


if __name__ == "__main__":
    draw(json.load(sys.stdin), sys.argv[1])
