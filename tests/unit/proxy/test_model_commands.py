"""What `make model` asks of the proxy: a hold that ends by itself, a word from the engine, a look at a file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from chatproxy.commands import main
from tests.doubles.koboldcpp import KoboldcppDouble


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_hold_is_a_file_with_its_own_end_and_released_it_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "hold.json"
    environment = {"HOLD_FILE": str(file)}
    assert main(["hold", "120"], environment) == 0
    told = json.loads(file.read_text())
    assert 100 < told["until"] - time.time() <= 120
    assert told["turn_away"] is False
    assert main(["hold", "60", "--turn-away"], environment) == 0
    assert json.loads(file.read_text())["turn_away"] is True
    assert main(["release"], environment) == 0
    assert main(["release"], environment) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", ["0", "-1", "3601", "nan"])
def test_nobody_is_held_up_for_ever(tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    assert main(["hold", "--", seconds], {"HOLD_FILE": str(tmp_path / "hold.json")}) == 1
    assert _said(capsys).startswith("hold.seconds_invalid: ")
    assert list(tmp_path.iterdir()) == []


def test_a_hold_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hold", "60"], {"HOLD_FILE": str(tmp_path / "nowhere" / "hold.json")}) == 1
    assert _said(capsys).startswith("hold.impossible: ")


def test_the_engine_itself_has_to_say_something(capsys: pytest.CaptureFixture[str]) -> None:
    with KoboldcppDouble(reply=("Paris", ".")) as double:
        environment = {"ENGINE_URL": f"http://{double.host}:{double.port}", "ENGINE_API": "koboldcpp"}
        assert main(["try-engine"], environment) == 0
        assert capsys.readouterr().out.startswith("Paris.")
    with KoboldcppDouble(reply=("\n", " ")) as double:
        environment = {"ENGINE_URL": f"http://{double.host}:{double.port}", "ENGINE_API": "koboldcpp"}
        assert main(["try-engine"], environment) == 1
        assert "it says '\\n " in _said(capsys)


def test_an_engine_that_is_away_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try-engine"], {"ENGINE_URL": "http://127.0.0.1:1", "ENGINE_API": "koboldcpp"}) == 1
    assert _said(capsys).startswith("engine.no_answer: ")


@pytest.mark.parametrize(
    ("file", "wanted"), [("missing.gguf", "auto"), ("page.gguf", "auto"), ("old.bin", "no-such-format")]
)
def test_a_model_that_the_proxy_could_not_start_with_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, wanted: str
) -> None:
    (tmp_path / "page.gguf").write_bytes(b"<html>")
    (tmp_path / "old.bin").write_bytes(b"tjgg")
    words = [f"--file={tmp_path / file}", f"--format={wanted}", "--name=x"]
    assert main(["check-model", *words], {}) == 1
    assert _said(capsys).startswith("model.format_unknown: ")


def test_a_model_of_a_known_format_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.bin").write_bytes(b"tjgg")
    assert main(["check-model", f"--file={tmp_path / 'old.bin'}", "--format=metharme", "--name=x"], {}) == 0
    assert capsys.readouterr().out == "metharme\n"
