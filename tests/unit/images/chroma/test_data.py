"""Chroma's data of a newer version end the start: it would open them without a word."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from images.chroma import entrypoint


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with the steps that this Chroma makes."""
    monkeypatch.setenv("CHROMA_DATA", str(tmp_path))
    file = tmp_path / "chroma.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE migrations (dir TEXT, version INTEGER, filename TEXT, sql TEXT, hash TEXT)")
        for part, last in entrypoint.SCHEMA.items():
            rows = [(part, number, "", "", "") for number in range(1, last + 1)]
            database.executemany("INSERT INTO migrations VALUES (?, ?, ?, ?, ?)", rows)
        database.commit()
    return file


def step(file: Path, part: str, number: int) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("INSERT INTO migrations VALUES (?, ?, '', '', '')", (part, number))
        database.commit()


def test_its_own_data_and_older_ones_are_taken(data: Path) -> None:
    entrypoint._check_data()
    with closing(sqlite3.connect(data)) as database:
        database.execute("DELETE FROM migrations WHERE version > 1")
        database.commit()
    entrypoint._check_data()


@pytest.mark.parametrize(
    ("part", "number", "told"), [("sysdb", 11, "sysdb 11 instead of 10"), ("newdb", 1, "newdb 1 instead of 0")]
)
def test_newer_data_are_refused_with_the_way(
    data: Path, part: str, number: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    step(data, part, number)
    with pytest.raises(SystemExit) as ended:
        entrypoint._check_data()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"chroma: the data are of a newer Chroma (schema: {told}): go back")
    assert "docker volume rm" in line and "make sources REBUILD=1" in line


@pytest.mark.parametrize("content", [None, b"", b"no database" * 200])
def test_what_cannot_be_read_is_left_to_chroma(data: Path, content: bytes | None) -> None:
    if content is None:
        data.unlink()
    else:
        data.write_bytes(content)
    entrypoint._check_data()
