"""The one way an operator command gives up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Failure(Exception):
    """A reason to stop that the operator can act on.

    id:   stable, dotted, lower case (`docker.start_failed`); tests and searches rely on it
    fact: what is so, in one sentence
    hint: what to do about it, in one sentence or one command
    """

    id: str
    fact: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.id}: {self.fact}" + (f"\n  -> {self.hint}" if self.hint else "")
