"""Prometheus for the tests: taken where it is, else unpacked from the distribution's package, never installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import apt, prometheus, shell
from scripts.lib.failure import Failure


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was run; `dpkg -x` leaves what the package holds."""
    commands: list[str] = []

    def run(command: Sequence[str], *, cwd: Path, **_: Any) -> None:
        commands.append(" ".join(command[:2]))
        if command[0] == "apt-get":
            (cwd / "prometheus.deb").touch()
        else:
            (Path(command[-1]) / "usr" / "bin").mkdir(parents=True)
            (Path(command[-1]) / "usr" / "bin" / "promtool").touch()

    monkeypatch.setattr(shell, "logged", run)
    monkeypatch.setattr(shell, "which", lambda program: None)
    monkeypatch.setattr(apt, "available", lambda package: False)
    monkeypatch.setattr(apt, "update", lambda: commands.append("update"))
    return commands


def test_an_installed_one_is_taken(monkeypatch: pytest.MonkeyPatch, done: list[str], tmp_path: Path) -> None:
    monkeypatch.setattr(shell, "which", lambda program: f"/usr/bin/{program}")
    assert prometheus.ensure(tmp_path) == Path("/usr/bin")
    assert done == []


def test_a_missing_one_is_unpacked_once(done: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        assert prometheus.ensure(tmp_path) == tmp_path / "usr" / "bin"
    assert done == ["update", "apt-get download", "dpkg -x"]


def test_a_package_without_it_is_named(monkeypatch: pytest.MonkeyPatch, done: list[str], tmp_path: Path) -> None:
    monkeypatch.setattr(shell, "logged", lambda *_, **__: None)
    with pytest.raises(Failure, match="promtool"):
        prometheus.ensure(tmp_path)
