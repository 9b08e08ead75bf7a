"""One worker at a time: the word index has one writer, so the lock is beside it."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from chatproxy.errors import ConfigurationError


class SoleWorker:
    """Holds the folder for as long as this process lives.

    `name` is the same for every worker that has held it: whoever holds it now knows that the others are gone, and takes
    up their jobs without waiting for their leases to run out.
    """

    def __init__(self, folder: Path) -> None:
        """Raises ConfigurationError where another worker holds the folder, or it cannot be written to."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(folder / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigurationError(f"WORDS_DIR={str(folder)!r} cannot be used: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(f"WORDS_DIR={str(folder)!r}: another worker is at work there") from None
        name = os.read(self._descriptor, 64).decode("ascii", "replace")
        if len(name) != 32:
            name = secrets.token_hex(16)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, name.encode(), 0)
            os.fsync(self._descriptor)
        self.name = name
