"""A running `make dev` is found by other commands, and one that has ended is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lib import dev_stack, knowledge, paths
from scripts.lib.dev_stack import DevStack
from scripts.lib.failure import Failure

STACK = DevStack("http://127.0.0.1:8080", sys.executable, {"MONGO_URL": "mongodb://127.0.0.1:1", "SECRET_FILE": "/x"})


def test_it_is_found_as_long_as_it_runs(tmp_path: Path) -> None:
    state = tmp_path / ".dev" / "stack.json"
    assert dev_stack.running(state) is None
    with dev_stack.told(STACK, state):
        assert dev_stack.running(state) == STACK
    assert dev_stack.running(state) is None


def test_one_that_was_killed_deceives_nobody(tmp_path: Path) -> None:
    state = tmp_path / "stack.json"
    program = (
        "import os; from pathlib import Path; from scripts.lib import dev_stack\n"
        f"with dev_stack.told(dev_stack.DevStack('u', 'p', {{}}), Path({str(state)!r})): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, check=False)
    assert done.returncode == -9
    assert json.loads(state.read_text())["url"] == "u"
    assert dev_stack.running(state) is None


def test_a_second_one_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "stack.json"
    with dev_stack.told(STACK, state):
        with pytest.raises(Failure, match=r"dev\.running"), dev_stack.told(STACK, state):
            pass
        assert dev_stack.running(state) == STACK


def test_what_cannot_be_read_is_no_stack(tmp_path: Path) -> None:
    state = tmp_path / "stack.json"
    with dev_stack.told(STACK, state):
        state.write_text("{}")
        assert dev_stack.running(state) is None


def test_commands_run_with_its_python_and_its_settings() -> None:
    show = "import os, sys; print(os.environ['MONGO_URL'], os.environ['PYTHONPATH'], sys.stdin.readline())"
    status, out, _ = STACK.run_in("worker", ["python3", "-c", show.replace("sys.stdin.readline()", "''")])
    assert (status, out.split()) == (0, ["mongodb://127.0.0.1:1", str(paths.ROOT / "proxy")])
    with (paths.ROOT / "LICENSE").open("rb") as file:
        _, out, _ = STACK.feed("worker", ["python3", "-c", show], file, 30)
    assert "MIT" in out
    assert list(STACK.follow("worker", ["python3", "-c", "print(1); print(2)"])) == ["1", "2"]


def test_sources_are_about_make_dev_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev_stack.running, "__defaults__", (tmp_path / "stack.json",))
    monkeypatch.setattr(paths, "ENV_FILE", tmp_path / ".env")
    with dev_stack.told(STACK, tmp_path / "stack.json"):
        assert knowledge.reached() == STACK
    assert "`make dev`, which runs at http://127.0.0.1:8080" in capsys.readouterr().err
    with pytest.raises(Failure, match=r"appliance\.not_set_up"):
        knowledge.reached()
