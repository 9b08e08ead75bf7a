"""A running `make dev` as other commands find it: through .dev/stack.json, which it keeps locked while it lives.

The kernel lets go of the lock however `make dev` ends, so what lies there from an earlier one deceives nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scripts.lib import paths, shell
from scripts.lib.compose import Container
from scripts.lib.failure import Failure

STATE = paths.ROOT / ".dev" / "stack.json"


@dataclass(frozen=True)
class DevStack:
    """What a command needs to act on it. Answers like scripts.lib.compose.Compose, without containers."""

    url: str
    python: str
    environment: Mapping[str, str]

    def run_in(self, service: str, command: Sequence[str], timeout: float = 60) -> tuple[int, str, str]:
        """Run a service's own Python command beside it, with its settings."""
        return shell.capture(self._own(command), timeout=timeout, env=self._environment())

    def feed(self, service: str, command: Sequence[str], given: BinaryIO, timeout: float) -> tuple[int, str, str]:
        """The same with a file as its stdin."""
        return shell.capture(self._own(command), timeout=timeout, env=self._environment(), given=given)

    def follow(self, service: str, command: Sequence[str]) -> Iterator[str]:
        """The lines that such a command prints, as they come."""
        yield from shell.lines(self._own(command), env=self._environment())

    def containers(self) -> list[Container]:
        """`make dev` ends when one of its services does: as long as there is one, all run."""
        names = ("worker", "proxy")
        return [Container(name, name, name, "running", "healthy", 0, "runs under make dev") for name in names]

    def _own(self, command: Sequence[str]) -> list[str]:
        if command[0] != "python3":
            raise ValueError(command[0])
        return [self.python, *command[1:]]

    def _environment(self) -> dict[str, str | None]:
        return {**self.environment, "PYTHONPATH": str(paths.ROOT / "proxy")}


@contextlib.contextmanager
def told(stack: DevStack, state: Path = STATE) -> Iterator[None]:
    """Let other commands find `stack` within this block. Failure where another one is up already.

    What is written names the files of the secrets, never a secret.
    """
    state.parent.mkdir(exist_ok=True)
    with state.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure("dev.running", "`make dev` runs already in this folder", "end it with Ctrl-C first") from None
        file.truncate(0)
        json.dump({"url": stack.url, "python": stack.python, "environment": dict(stack.environment)}, file)
        file.flush()
        yield


def running(state: Path = STATE) -> DevStack | None:
    """The one that is up now, None where none is."""
    try:
        with state.open(encoding="utf-8") as file:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None  # nobody holds it
            told = json.load(file)
            return DevStack(told["url"], told["python"], told["environment"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
