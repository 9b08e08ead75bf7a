"""How the command line says what was not done: in the words of the operator's commands."""

from __future__ import annotations

import sys


def not_done(finding: str, fact: str, hint: str) -> int:
    """Say it on stderr, `id: fact` and the hint behind an arrow in the next line; returns the exit status."""
    print(f"{finding}: {fact}\n  -> {hint}", file=sys.stderr)
    return 1
