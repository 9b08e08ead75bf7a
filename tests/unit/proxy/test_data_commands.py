"""`python -m chatproxy data` says what went wrong and what to do; with its services it is tested in integration."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from chatproxy.commands import main

TOLD = (
    b'{"format":1,"schema":9,"moment":"2026-11-22T08:15:00+00:00","views":[],"vectors":{},"probes":[],'
    b'"collections":{"schema":{"documents":1,"bytes":9,"sha256":"","groups":{},"indexes":[]}}}'
)


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    return {"MONGO_URL": "mongodb://127.0.0.1:1", "WORDS_DIR": str(tmp_path / "words")}


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    given = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given))
    return given


@pytest.mark.parametrize("arguments", [["data"], ["data", "dump", "x"], ["data", "done"], ["data", "copy"]])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments, {})
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("command", "finding"),
    [
        (["dump"], "backup.storage_unavailable: MongoDB: "),
        (["load"], "restore.storage_unavailable: MongoDB: "),
        (["compare"], "backup.storage_unavailable: MongoDB: "),
        (["done", "2026-11-22T08:15:00Z"], "backup.storage_unavailable: MongoDB: "),
        (["done", "soon"], "backup.moment_invalid: 'soon' is no time with its zone\n  -> as 2026-"),
        (["done", "2026-11-22T08:15:00"], "backup.moment_invalid: "),
    ],
)
def test_what_was_not_done_ends_with_an_id_a_fact_and_a_hint(
    command: list[str],
    finding: str,
    nowhere: dict[str, str],
    stdin: io.BytesIO,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stdin.write(TOLD)
    stdin.seek(0)
    assert main(["data", *command], nowhere) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(finding)
    assert captured.err.count("\n  -> ") == 1
    assert captured.out == ""


def test_a_bad_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "dump"], {"QUEUE_SIZE": "many"}) == 1
    assert "setting.invalid: QUEUE_SIZE='many'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        TOLD.replace(b'"documents":1', b'"documents":0'),
        TOLD.replace(b":9", b":-9"),
    ],
)
def test_a_data_json_that_is_none(
    told: bytes, nowhere: dict[str, str], stdin: io.BytesIO, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin.write(told)
    stdin.seek(0)
    assert main(["data", "compare"], nowhere) == 1
    assert capsys.readouterr().err.startswith("restore.archive_broken: the archive is not whole: its data.json")
