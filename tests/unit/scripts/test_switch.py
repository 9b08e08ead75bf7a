"""A change of model: in which order what happens, and that whatever goes wrong leads back to the old one."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import dotenv, resolve, settings
from scripts.lib.failure import Failure
from scripts.lib.switch import Switch

OLD = {"MODEL_NAME": "old", "MODEL_FILE": "old.gguf", "MODEL_PATH_RESOLVED": "/models/old.gguf"}
NEW = {"MODEL_NAME": "new", "MODEL_FILE": "new.gguf", "MODEL_PATH_RESOLVED": "/models/new.gguf"}
ENV = "# mine\nDOMAIN=localhost  # home\nMODEL=old\nTHREADS=4\n"


class Stack:
    """Services that take their values from resolved.env when they start, and a proxy that can be asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []
        self.serves = {"engine": "old", "proxy": "old"}
        # What is raised when a service starts with a model, or when a command runs.
        self.broken: dict[tuple[str, str], BaseException] = {}
        self.refused: dict[str, tuple[int, str, str]] = {}
        self.busy = [0]
        (folder / ".env").write_text(ENV)
        resolve.write(OLD, folder / "resolved.env")

    def start(self, service: str) -> None:
        model = resolve.earlier(self.folder / "resolved.env")["MODEL_NAME"]
        self.done.append(f"start {service} with {model}")
        self.serves[service] = model
        if failure := self.broken.get((service, model)):
            raise failure

    def run_in(self, service: str, command: Sequence[str], timeout: float = 60) -> tuple[int, str, str]:
        words = " ".join(command[3:])
        assert (service, list(command[:3])) == ("proxy", ["python3", "-m", "chatproxy"])
        self.done.append(words)
        return self.refused.get(words.split()[0], (0, "Paris\n", ""))

    def look(self) -> Mapping[str, Any] | None:
        busy = self.busy.pop(0) if len(self.busy) > 1 else self.busy[0]
        self.done.append(f"{busy} busy")
        return {"engine": {"busy": busy, "waiting": 0, "held": True}}

    def switch(self, drain_s: float = 30.0) -> Switch:
        return Switch(
            self,
            self.start,
            self.look,
            env_file=self.folder / ".env",
            resolved=self.folder / "resolved.env",
            before=self.folder / "before.env",
            drain_s=drain_s,
        )

    def run(self, **options: float) -> None:
        self.switch(**options).run(OLD, NEW, {"MODEL": "new.gguf"})

    def assert_as_before(self) -> None:
        assert (self.folder / ".env").read_text() == ENV
        assert resolve.earlier(self.folder / "resolved.env") == OLD
        assert self.serves == {"engine": "old", "proxy": "old"}
        assert self.done[-1] == "release"
        assert not (self.folder / "before.env").exists()


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def test_the_engine_is_exchanged_when_no_answer_is_in_progress_and_the_proxy_when_it_has_answered(stack: Stack) -> None:
    stack.busy = [2, 1, 0]
    stack.run()
    assert stack.done == [
        "hold 120",
        "2 busy",
        "1 busy",
        "0 busy",
        "start engine with new",
        "try-engine",
        "hold 120 --turn-away",
        "start proxy with new",
        "release",
    ]
    assert (stack.folder / ".env").read_text() == ENV.replace("MODEL=old", "MODEL=new.gguf")
    assert resolve.earlier(stack.folder / "resolved.env") == NEW
    assert not (stack.folder / "before.env").exists()


def test_answers_that_take_too_long_are_told_and_do_not_stop_it(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.busy = [3]
    stack.run(drain_s=0.0)
    assert "model.answers_cut: " in capsys.readouterr().err
    assert stack.serves == {"engine": "new", "proxy": "new"}


def test_an_engine_that_does_not_get_well_gives_way_to_the_old_one(stack: Stack) -> None:
    stack.broken["engine", "new"] = Failure("service.unhealthy", "engine did not become healthy", "look")
    with pytest.raises(Failure) as raised:
        stack.run()
    assert raised.value.id == "model.unfit"
    assert "engine did not become healthy" in raised.value.fact
    stack.assert_as_before()
    # The proxy was not touched: who waits goes on waiting, and is answered by the old one.
    assert "start proxy with old" not in stack.done


@pytest.mark.parametrize("step", ["engine", "proxy"])
def test_ctrl_c_leads_back_too(stack: Stack, step: str) -> None:
    stack.broken[step, "new"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        stack.run()
    stack.assert_as_before()


class FullDisk:
    """Stands for dotenv.write_private, whose disk has room for so many more files and then for none."""

    def __init__(self, room: int) -> None:
        self.room, self._write = room, dotenv.write_private

    def __call__(self, path: Path, text: str) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._write(path, text)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_disk_that_is_full_does_not_keep_the_old_model_from_coming_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(dotenv, "write_private", FullDisk(room))
    with pytest.raises(Failure) as raised:
        stack.run()
    assert raised.value.id == "disk.full"
    stack.assert_as_before()


def test_a_disk_that_gets_full_at_last_keeps_the_setting_alone_from_coming_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.broken["proxy", "new"] = KeyboardInterrupt()
    monkeypatch.setattr(dotenv, "write_private", FullDisk(3))
    with pytest.raises(KeyboardInterrupt):
        stack.run()
    assert stack.serves == {"engine": "old", "proxy": "old"}
    assert resolve.earlier(stack.folder / "resolved.env") == OLD
    assert "env.not_restored: .env still names the new model" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["engine", "proxy"])
def test_a_reader_of_its_words_who_has_left_does_not_keep_the_old_model_from_coming_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stderr", os.fdopen(writing, "w"))
    stack.broken[step, "new"] = Failure("service.unhealthy", f"{step} did not become healthy", "look")
    with pytest.raises(Failure):
        stack.run()
    stack.assert_as_before()


def test_the_same_model_once_more_holds_nobody_up(stack: Stack) -> None:
    stack.switch().run(OLD, OLD, {"MODEL": "old"})
    # Compose leaves a proxy as it is that is given nothing new, and with it its hold.
    assert stack.done[-1] == "release"


def test_an_engine_that_says_nothing_is_not_well(stack: Stack) -> None:
    stack.refused["try-engine"] = (1, "", "engine.no_answer: the engine runs, but says ''\n  -> the file is broken\n")
    with pytest.raises(Failure) as raised:
        stack.run()
    assert (raised.value.id, raised.value.hint) == ("engine.no_answer", "the file is broken")
    stack.assert_as_before()


def test_a_proxy_that_does_not_start_with_the_new_model_gets_the_old_one_back(stack: Stack) -> None:
    stack.broken["proxy", "new"] = Failure("service.unhealthy", "proxy did not become healthy", "look")
    with pytest.raises(Failure):
        stack.run()
    stack.assert_as_before()
    assert stack.done[-3:] == ["start engine with old", "start proxy with old", "release"]


def test_where_not_even_the_old_one_starts_again_that_is_said(stack: Stack) -> None:
    stack.broken["engine", "new"] = Failure("service.unhealthy", "engine did not become healthy", "look")
    stack.broken["engine", "old"] = Failure("docker.refused", "Docker could not start the services", "look")
    with pytest.raises(Failure) as raised:
        stack.run()
    assert raised.value.id == "model.stuck"
    assert "make up" in raised.value.hint
    assert (stack.folder / ".env").read_text() == ENV
    assert resolve.earlier(stack.folder / "resolved.env") == OLD


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        ((2, "", "usage: python -m chatproxy\nerror: invalid choice: 'hold'"), "model.proxy_old"),
        ((1, "", "hold.impossible: HOLD_FILE: No space left on device\n  -> is /tmp full?\n"), "hold.impossible"),
    ],
)
def test_a_proxy_that_cannot_be_held_stops_it_with_nothing_changed(
    stack: Stack, answer: tuple[int, str, str], finding: str
) -> None:
    stack.refused["hold"] = answer
    with pytest.raises(Failure) as raised:
        stack.run()
    assert raised.value.id == finding
    assert not any(word.startswith("start") for word in stack.done)
    stack.assert_as_before()


def test_a_format_that_the_proxy_could_not_start_with_is_found_before_anybody_has_to_wait(stack: Stack) -> None:
    stack.refused["check-model"] = (1, "", "model.format_unknown: new: no known format\n  -> set PROMPT_FORMAT\n")
    with pytest.raises(Failure) as raised:
        stack.switch().check({**NEW, "PROMPT_FORMAT_RESOLVED": "auto"})
    assert raised.value.id == "model.format_unknown"
    assert stack.done == ["check-model --file=/models/new.gguf --format=auto --name=new"]


def test_what_ran_before_is_kept_aside_for_whoever_comes_after_a_kill(stack: Stack) -> None:
    kept: list[dict[str, str]] = []

    class Watched(Stack):
        def start(self, service: str) -> None:
            kept.append(resolve.earlier(self.folder / "before.env"))

    Watched(stack.folder).run()
    assert kept == [OLD, OLD]


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("MODEL=old\n", "MODEL=new\n"),
        ("A=1\r\nMODEL=old\r\nB=2\r\n", "A=1\r\nMODEL=new\r\nB=2\r\n"),
        ("MODEL=old  # the small one\n", "MODEL=new  # the small one\n"),
        ("export MODEL = 'old one'\n", "export MODEL = new\n"),
        ("#MODEL=other\nMODEL=first\nMODEL=last\n", "#MODEL=other\nMODEL=first\nMODEL=new\n"),
        ("MODEL=\nA=1\n", "MODEL=new\nA=1\n"),
        ("MODEL=\r\nA=1\r\n", "MODEL=new\r\nA=1\r\n"),
        ("MODEL= # none yet\n", "MODEL= new # none yet\n"),
        ("MODELS=old\nA=1", "MODELS=old\nA=1\nMODEL=new\n"),
        ("", "MODEL=new\n"),
    ],
)
def test_the_operators_file_stays_as_it_is_but_for_the_value(text: str, changed: str) -> None:
    assert dotenv.with_values(text, {"MODEL": "new"}) == changed
    assert dotenv.parse(changed)["MODEL"] == "new"


def test_a_setting_that_is_loaded_again_is_the_new_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(dotenv.with_values(ENV, {"MODEL": "a file.gguf", "PROMPT_FORMAT": "auto"}))
    assert settings.load(tmp_path / ".env", environ={})["MODEL"] == "a file.gguf"
