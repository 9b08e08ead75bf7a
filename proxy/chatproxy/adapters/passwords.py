"""Passwords by argon2id, with the parameters of RFC 9106's second recommendation (64 MiB, 3 passes, 4 lanes)."""

from __future__ import annotations

import argon2
from argon2.exceptions import InvalidHashError, VerificationError


class Argon2:
    """Implements core.admin_ports.PasswordHasher."""

    def __init__(self) -> None:
        self._argon2 = argon2.PasswordHasher.from_parameters(argon2.profiles.RFC_9106_LOW_MEMORY)

    def hash(self, password: str) -> str:
        """See core.admin_ports.PasswordHasher."""
        return self._argon2.hash(password)

    def verify(self, digest: str, password: str) -> bool:
        """See core.admin_ports.PasswordHasher."""
        try:
            return self._argon2.verify(digest, password)
        except (VerificationError, InvalidHashError):
            return False
