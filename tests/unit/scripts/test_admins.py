"""`make admin` and `make admins`: what they ask the proxy's own command line for."""

from __future__ import annotations

import io
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from chatproxy.commands import main
from scripts.lib import services
from scripts.lib.failure import Failure

ROOT = Path(__file__).resolve().parents[3]
NOWHERE = {"MONGO_URL": "mongodb://127.0.0.1:1"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], bytes]]:
    """What the proxy's container would have been asked to run, and given on stdin."""
    kept: list[tuple[list[str], bytes]] = []

    def own_command(family: str, words: Sequence[str], *_: Any, given: BinaryIO | None = None) -> int:
        assert family == "admins"
        kept.append((list(words), given.read() if given else b""))
        return 0

    monkeypatch.setattr(services, "own_command", own_command)
    for name in ("NAME", "REMOVE", "PASSWORD_FILE", "JSON"):
        monkeypatch.delenv(name, raising=False)
    return kept


def run(script: str) -> int:
    status: int = runpy.run_path(str(ROOT / "scripts" / script))["main"]()
    return status


def test_make_admin_asks_for_a_password_to_be_made_up(
    asked: list[tuple[list[str], bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "anna")
    assert run("admin") == 0
    assert asked == [(["put", "--name=anna"], b"")]


def test_a_password_of_ones_own_goes_through_a_pipe_and_no_argument(
    asked: list[tuple[list[str], bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse battery\n")
    monkeypatch.setenv("NAME", "anna")
    monkeypatch.setenv("PASSWORD_FILE", str(file))
    assert run("admin") == 0
    assert asked == [(["put", "--name=anna", "--password-stdin"], b"correct horse battery\n")]
    monkeypatch.setenv("PASSWORD_FILE", str(tmp_path / "nothing"))
    with pytest.raises(Failure) as caught:
        run("admin")
    assert caught.value.id == "admin.password_unreadable"


def test_make_admin_takes_somebody_away(asked: list[tuple[list[str], bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "--help")
    monkeypatch.setenv("REMOVE", "1")
    assert run("admin") == 0
    assert asked == [(["remove", "--", "--help"], b"")]


@pytest.mark.parametrize("no", ["", "0", "false"])
def test_remove_0_takes_nobody_away(
    asked: list[tuple[list[str], bytes]], monkeypatch: pytest.MonkeyPatch, no: str
) -> None:
    monkeypatch.setenv("NAME", "anna")
    monkeypatch.setenv("REMOVE", no)
    assert run("admin") == 0
    assert asked == [(["put", "--name=anna"], b"")]


def test_an_admin_needs_a_name(asked: list[tuple[list[str], bytes]]) -> None:
    with pytest.raises(Failure) as caught:
        run("admin")
    assert caught.value.id == "admin.name_missing"
    assert asked == []


def test_make_admins_lists(asked: list[tuple[list[str], bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    run("admins")
    for json in ("1", "0"):
        monkeypatch.setenv("JSON", json)
        run("admins")
    assert [words for words, _ in asked] == [["list"], ["list", "--json"], ["list"]]


@pytest.mark.parametrize(
    ("words", "finding"),
    [
        (["put", "--name=Anna"], "admin.name_invalid: name must be 1 to 32"),
        (["put", "--name=anna"], "admins.storage_unavailable: "),
        (["list", "--json"], "admins.storage_unavailable: "),
        (["remove", "--", "--help"], "admins.storage_unavailable: "),
    ],
)
def test_what_they_pass_on_is_what_the_proxys_command_line_takes(
    words: list[str], finding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["admins", *words], NOWHERE) == 1
    told = capsys.readouterr()
    assert told.err.startswith(finding) and told.err.count("\n") == 2 and told.out == ""


@pytest.mark.parametrize("given", ["", "\n", "\nof the second line, which is not read\n"])
def test_an_empty_password_is_refused_rather_than_made_up(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert main(["admins", "put", "--name=anna", "--password-stdin"], NOWHERE) == 1
    told = capsys.readouterr()
    assert told.err.startswith("admin.password_invalid: password must not be empty")
    assert "PASSWORD_FILE" in told.err and told.err.count("\n") == 2 and told.out == ""
