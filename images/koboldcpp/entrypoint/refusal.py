"""How the start is refused: a message for the person who reads the log, and an exit code for what reads that."""

from __future__ import annotations

BAD_SETTING = 2
BAD_MODEL = 3


class RefusedError(Exception):
    """The engine is not started. `exit_code` is `BAD_SETTING` or `BAD_MODEL`."""

    def __init__(self, message: str, exit_code: int = BAD_SETTING) -> None:
        super().__init__(message)
        self.exit_code = exit_code
