"""Budgets: how much one key, or one address, may ask for."""

from __future__ import annotations

from chatproxy.core.types import Caller


class Permit:
    """One admitted request. Release it when the request ends, however it ends."""

    def spend(self, tokens: int) -> None:
        """Book `tokens` (prompt and answer together). Never raises: the answer is there already."""

    def release(self) -> None:
        """Give the stream's place back; a second call does nothing."""


class Limiter:
    """Counts requests, tokens and streams."""

    def admit(self, caller: Caller) -> Permit:
        """Count one request and one stream. Raises RateLimited with Retry-After, StorageUnavailable."""
        return Permit()
