"""The one way that this container gives up."""

from __future__ import annotations


class RefusedError(Exception):
    """Something that the operator can act on; printed as `id: fact`, then `  -> hint`, as `make` commands read it."""

    def __init__(self, identity: str, fact: str, hint: str = "") -> None:
        super().__init__(fact)
        self.id, self.fact, self.hint = identity, fact, hint

    def __str__(self) -> str:
        return f"{self.id}: {self.fact}" + (f"\n  -> {self.hint}" if self.hint else "")
