"""What a person reads while a command works: stderr. Results go to stdout with `result`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from scripts.lib import paths

_started = time.monotonic()
_verb = "up"


def begin(verb: str) -> None:
    """Name the command that runs: its log file starts anew."""
    global _verb
    _verb = verb
    if paths.STATE.is_dir():
        file().write_text("", encoding="utf-8")


def file() -> Path:
    """Where the whole output of other programs goes; made on first use."""
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    return paths.LOGS / f"{_verb}.log"


def plain() -> bool:
    """True where nobody watches a terminal: no colour, no redrawn lines."""
    return bool(os.environ.get("CI")) or not sys.stderr.isatty()


def _paint(code: str, text: str) -> str:
    return text if plain() or os.environ.get("NO_COLOR") else f"\033[{code}m{text}\033[0m"


def _line(text: str, end: str = "\n") -> None:
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except OSError:
        # Whoever read along has left: `| head`, or a terminal whose connection broke. That must not break off work, and
        # least of all what leads back from a change that failed.
        # For the rest of the process.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115


def step(text: str) -> None:
    """The start of a stage of the work."""
    _line(_paint("1", f"==> {text}"))


def info(text: str) -> None:
    _line(f"    {text}")


def ok(text: str) -> None:
    _line(f"    {_paint('32', 'ok')} {text}")


def warn(text: str) -> None:
    _line(f"    {_paint('33', 'warning')} {text}")


def error(text: str) -> None:
    _line(f"{_paint('31', 'error')} {text}")


def result(text: str = "") -> None:
    """The command's answer, which may be piped into something else."""
    print(text, flush=True)


def elapsed() -> str:
    """Wall time since the command started, as `3 min 04 s`."""
    return duration(time.monotonic() - _started)


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def size(count: float) -> str:
    """A number of bytes in the unit a person would choose (powers of 1024)."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1024 or unit == "GB":
            return f"{count:.0f} {unit}" if unit in ("B", "KB") else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def redraw(text: str, *, last: bool = False) -> None:
    """A line that replaces the one before it; only for terminals."""
    _line(f"\r\033[K    {text}", end="\n" if last else "")
