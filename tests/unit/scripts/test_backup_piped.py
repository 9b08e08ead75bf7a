"""What a backup reads from: a command's output as it comes, and one that says nothing any more."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from scripts.lib import backup_sources, shell
from scripts.lib.compose import Container
from scripts.lib.failure import Failure
from scripts.lib.shell import Piped


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_output_and_last_words_are_there() -> None:
    with shell.piped(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")) as piped:
        assert piped.stdout.read() == b"out\n"
    assert (piped.status, piped.err) == (3, "err\n")


def test_a_command_is_ended_where_its_reader_fails_or_leaves() -> None:
    endless = python("import sys, time\nwhile True: print('x' * 9999); time.sleep(0.01)")
    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError), shell.piped(endless) as piped:
        raise ZeroDivisionError
    assert piped.status != 0
    with shell.piped(endless) as piped:
        piped.stdout.read(1)
    assert piped.status != 0
    assert time.monotonic() - begun < 20


class Hanging:
    """An appliance whose dump begins, and then says nothing."""

    project = "chatbot"

    def pull(self, service: str, command: Sequence[str]) -> AbstractContextManager[Piped]:
        program = "import sys, time; sys.stdout.buffer.write(b'x' * 100); sys.stdout.flush(); time.sleep(600)"
        return shell.piped(python(program))

    def beside(self, service: str, volume: str, command: Sequence[str]) -> AbstractContextManager[Piped]:
        raise NotImplementedError

    def run_in(self, service: str, command: Sequence[str], timeout: float = 60) -> tuple[int, str, str]:
        raise NotImplementedError

    def containers(self) -> list[Container]:
        raise NotImplementedError


def test_a_dump_that_hangs_is_given_up(tmp_path: Path) -> None:
    begun = time.monotonic()
    members = backup_sources.data(Hanging(), tmp_path, patience_s=0.3)
    with closing(members), pytest.raises(Failure, match=r"backup\.stalled"):
        next(members)
    assert time.monotonic() - begun < 20
