"""What is begun on the way back is finished: by real processes and real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.lib import paths, way_back
from scripts.lib.failure import Failure

PROGRAM = f"""
import signal, subprocess, sys, time
# A shell without job control starts what it does not wait for with this one ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {str(paths.ROOT)!r})
from pathlib import Path
from scripts.lib import cli, paths, way_back
paths.STATE = paths.LOGS = Path(sys.argv[1])

def back():
    Path(sys.argv[1], "begun").touch()
    # As `docker compose` does, another program works for it; it ends at Ctrl-C.
    subprocess.run(["sh", "-c", "sleep 2; touch " + sys.argv[1] + "/done"], check=True)

def main():
    cli.undo_when_ended()
    try:
        Path(sys.argv[1], "ready").touch()
        time.sleep(60)
    except BaseException:
        way_back.to_the_end(back, "going back")
        raise

sys.exit(cli.run("restore", main, "all is as before"))
"""


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_to_everything_in_the_foreground_do_not_end_it(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(tmp_path / "ready")
    # As a terminal does: to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    wait_for(tmp_path / "begun")
    for _ in range(3):
        os.killpg(process.pid, number)
        time.sleep(0.1)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (tmp_path / "done").exists()
    assert said.count("signal.ignored") == 1
    assert "going back is being finished" in said
    assert "interrupted; all is as before" in said


def test_the_command_may_be_killed_meanwhile(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], start_new_session=True)
    wait_for(tmp_path / "ready")
    os.killpg(process.pid, signal.SIGINT)
    wait_for(tmp_path / "begun")
    process.kill()
    process.wait()
    wait_for(tmp_path / "done")


def test_what_fails_there_is_told_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "LOGS", tmp_path)

    def fail() -> None:
        raise Failure("docker.no_answer", fact="it does not answer", hint="wait")

    def err() -> None:
        raise ZeroDivisionError("of no use")

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(Failure, match=r"docker\.no_answer: it does not answer"):
        way_back.to_the_end(fail, "going back")
    with pytest.raises(Failure, match=r"way_back\.broken: ZeroDivisionError: of no use") as broken:
        way_back.to_the_end(err, "going back")
    assert "make up" in broken.value.hint
    assert any("ZeroDivisionError" in file.read_text() for file in tmp_path.iterdir()), "its report is kept"
    with pytest.raises(Failure, match=r"way_back\.broken: going back was killed"):
        way_back.to_the_end(die, "going back")


def test_afterwards_signals_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    way_back.to_the_end(lambda: None, "going back")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_the_lock_is_held_for_as_long_as_it_takes(tmp_path: Path) -> None:
    """Another command that came in between would find containers half stopped."""
    program = PROGRAM.replace(
        'Path(sys.argv[1], "ready").touch()',
        'paths.ROOT = paths.STATE; held = cli.exclusive(); held.__enter__(); Path(sys.argv[1], "ready").touch()',
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], start_new_session=True)
    wait_for(tmp_path / "ready")
    os.killpg(process.pid, signal.SIGINT)
    wait_for(tmp_path / "begun")
    process.kill()
    process.wait()
    lock = ["flock", "--nonblock", str(tmp_path), "true"]
    assert not (tmp_path / "done").exists()
    assert subprocess.run(lock, check=False).returncode == 1
    wait_for(tmp_path / "done")
    end = time.monotonic() + 10
    while subprocess.run(lock, check=False).returncode and time.monotonic() < end:
        time.sleep(0.05)
    assert subprocess.run(lock, check=False).returncode == 0
