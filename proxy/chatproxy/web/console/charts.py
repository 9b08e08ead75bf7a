"""Charts as places in an SVG of 360 x 170 units, drawn by templates/chart.html; classes give them their looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

WIDTH, HEIGHT = 360, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 6, 10, 22
_INNER_WIDTH, _INNER_HEIGHT = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_ROWS, _LABELS = 4, 4
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Series:
    """One value for each of a chart's moments; None = there was nothing to be measured."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Label:
    """Text at a place of an axis, which is its middle or its end."""

    at: float
    text: str
    anchor: Literal["middle", "end"] = "middle"


@dataclass(frozen=True, slots=True)
class Shape:
    """A series drawn: an SVG path. `name` stands beside its sample in the legend."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with everything that is drawn, and what it says in a sentence."""

    id: str
    title: str
    description: str
    kind: Literal["bars", "lines"]
    shapes: Sequence[Shape]
    rows: Sequence[Label]
    columns: Sequence[Label]


def draw(
    chart_id: str,
    title: str,
    kind: Literal["bars", "lines"],
    moments: Sequence[datetime],
    series: Sequence[Series],
    *,
    unit: str = "",
    told: str = "",
) -> Chart:
    """Bars stand side by side, lines go from moment to moment; `told` begins the description."""
    top = nice(max(map(_peak, series), default=0.0))
    if kind == "bars":
        top = max(top, float(_ROWS))  # counts have no halves
    draws = _bars if kind == "bars" else _line
    shapes = [
        Shape(each.name, draws([_height(value, top) for value in each.values], number, len(series)))
        for number, each in enumerate(series)
    ]
    rows = [
        Label(round(_TOP + _INNER_HEIGHT * (1 - row / _ROWS), 1), _short(top * row / _ROWS, unit))
        for row in range(_ROWS + 1)
    ]
    peaks = ", ".join(f"{each.name} {_short(_peak(each), unit)} at most" for each in series)
    description = f"{told}{': ' if told else ''}{peaks}."
    return Chart(chart_id, title, description, kind, shapes, rows, _columns(moments))


def nice(most: float) -> float:
    """The top of an axis: the next of 1, 2, 4 or 8 times a power of ten; 4 where there is nothing."""
    if most <= 0:
        return 4.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(factor * power for factor in (1, 2, 4, 8, 10) if factor * power >= most * 0.999_999)


def _peak(series: Series) -> float:
    return max((value for value in series.values if value is not None), default=0.0)


def _height(value: float | None, top: float) -> float | None:
    return None if value is None else _INNER_HEIGHT * min(1.0, max(0.0, value / top))


def _bars(heights: Sequence[float | None], number: int, of: int) -> str:
    step = _INNER_WIDTH / max(1, len(heights))
    width = step * 0.8 / of
    bars = (
        f"M{_LEFT + step * (place + 0.1) + width * number:.1f} {_TOP + _INNER_HEIGHT}"
        f"v{-height:.1f}h{width:.1f}v{height:.1f}z"
        for place, height in enumerate(heights)
        if height
    )
    return "".join(bars)


def _line(heights: Sequence[float | None], _: int, __: int) -> str:
    """Broken where nothing was measured; a single point is a short stroke, or nobody would see it."""
    step = _INNER_WIDTH / max(1, len(heights))
    parts, on = [], False
    for place, height in enumerate(heights):
        if height is None:
            on = False
            continue
        x, y = _LEFT + step * (place + 0.5), _TOP + _INNER_HEIGHT - height
        alone = not on and (place + 1 == len(heights) or heights[place + 1] is None)
        parts.append(f"{'L' if on else 'M'}{x:.1f} {y:.1f}" + ("h2" if alone else ""))
        on = True
    return "".join(parts)


def _columns(moments: Sequence[datetime]) -> Sequence[Label]:
    if not moments:
        return []
    form = "%H:%M" if moments[-1] - moments[0] <= _DAY else "%d %b"
    step = _INNER_WIDTH / len(moments)
    places = [round(number * (len(moments) - 1) / (_LABELS - 1)) for number in range(_LABELS)]
    return [
        Label(
            round(_LEFT + step * (place + 0.5), 1),
            moments[place].strftime(form),
            "end" if place and place == len(moments) - 1 else "middle",
        )
        for place in dict.fromkeys(places)
    ]


def _short(value: float, unit: str) -> str:
    """1200 -> 1.2k; at most four signs before the unit."""
    for limit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{name}{unit}"
    return f"{value:.3g}{unit}"
