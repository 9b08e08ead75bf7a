"""What a backup reads from: a command's output as it comes, and one that says nothing any more."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from scripts.lib import backup_sources, paths, shell
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


# As in a container: signals do not get to it, and somebody takes what it writes.
HELD = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, os.read(0, 1) + b"begun")
os.close(1)
while os.read(0, 1):
    pass
open(sys.argv[1], "w").close()
sys.exit(7)
"""


def test_one_that_is_held_ends_with_its_reader(tmp_path: Path) -> None:
    command = [*python(HELD), str(tmp_path / "ended")]
    with pytest.raises(ZeroDivisionError), shell.piped(command, held=True) as piped:
        assert piped.stdout.read(6) == b"\nbegun"
        assert not (tmp_path / "ended").exists()
        raise ZeroDivisionError
    assert piped.status == 7
    with shell.piped(python("import sys; print('out')"), held=True) as piped:
        assert piped.stdout.read() == b"out\n"
    assert piped.status == 0, "one that does not care for its stdin"
    with shell.piped([sys.executable, "-c", "import sys; sys.exit(3)"], held=True) as piped:
        time.sleep(0.3)
    assert piped.status == 3


def test_one_that_is_held_ends_with_a_reader_that_is_killed(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    reading = (
        f"import sys, time; sys.path.insert(0, {str(paths.ROOT)!r})\nfrom scripts.lib import shell\n"
        f"with shell.piped({[*python(HELD), str(ended)]!r}, held=True) as piped:\n"
        "    piped.stdout.read(6); print('reads', flush=True); time.sleep(600)\n"
    )
    reader = subprocess.Popen(python(reading), stdout=subprocess.PIPE)
    assert reader.stdout is not None and reader.stdout.readline() == b"reads\n"
    reader.kill()
    reader.wait()
    end = time.monotonic() + 20
    while not ended.exists():
        assert time.monotonic() < end, "it runs on for nobody"
        time.sleep(0.05)


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
