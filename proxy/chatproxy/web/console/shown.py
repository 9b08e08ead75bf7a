"""How values look on pages: moments, sizes, numbers. All times are UTC, as in the logs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup

from chatproxy.core.types import now
from chatproxy.web.markdown import to_html


def moment(at: datetime | None) -> str:
    """2026-05-17 09:41"""
    return at.strftime("%Y-%m-%d %H:%M") if at else "never"


def ago(at: datetime | None) -> str:
    """How long since: "just now", "5 minutes ago"."""
    return f"{_span(now() - at)} ago" if at and now() - at >= timedelta(minutes=1) else "just now" if at else "never"


def size(count: float | None) -> str:
    """Bytes in words: 1.5 GB."""
    if count is None:
        return "unknown"
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def counted(number: int, one: str, many: str = "") -> str:
    """1 page, 2,000 pages."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def seconds(value: float | None) -> str:
    """0.42 s, 12 s, 3 minutes."""
    if value is None:
        return "-"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} minutes"


def _span(length: timedelta) -> str:
    for name, span in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if length.total_seconds() >= span:
            return counted(int(length.total_seconds() // span), name)
    return "less than a minute"


def answer(text: str) -> Markup:
    """A model's answer, as its readers saw it."""
    return Markup(to_html(text))  # noqa: S704  it comes out of the sanitiser


def is_link(url: str) -> bool:
    """Whether an address leads to a web page, and nowhere else."""
    return url.startswith(("https://", "http://"))


FILTERS: dict[str, Callable[..., Any]] = {
    "moment": moment,
    "ago": ago,
    "size": size,
    "counted": counted,
    "seconds": seconds,
    "answer": answer,
    "is_link": is_link,
}
