"""The browser of the widget's tests: taken where it is, named by hand, or refused with a finding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.lib import apt, chromium, shell
from scripts.lib.failure import Failure


class FakeHost:
    """A machine's programs and packages; installing a package brings its program."""

    def __init__(self, *, has: bool = False, offers: bool = True) -> None:
        self.has, self.offers = has, offers
        self.installed: list[str] = []

    def which(self, program: str) -> str | None:
        return "/usr/bin/chromium" if self.has and program == "chromium" else None

    def install(self, packages: Sequence[str]) -> None:
        self.installed += packages
        self.has = True


def _on(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(shell, "which", host.which)
    monkeypatch.setattr(apt, "available", lambda package: host.offers)
    monkeypatch.setattr(apt, "update", lambda: None)
    monkeypatch.setattr(apt, "install", host.install)
    return host


def test_a_browser_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    host = _on(FakeHost(has=True), monkeypatch)
    assert chromium.ensure() == Path("/usr/bin/chromium")
    assert host.installed == []


def test_where_there_is_none_the_distributions_own_is_installed_with_a_font(monkeypatch: pytest.MonkeyPatch) -> None:
    host = _on(FakeHost(), monkeypatch)
    assert chromium.ensure() == Path("/usr/bin/chromium")
    assert host.installed == ["chromium", "fonts-dejavu-core"]


def test_a_distribution_without_one_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    _on(FakeHost(offers=False), monkeypatch)
    with pytest.raises(Failure) as failure:
        chromium.ensure()
    assert failure.value.id == "browser.missing" and "CHROMIUM=" in failure.value.hint


def test_one_that_is_named_counts_and_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = _on(FakeHost(has=True), monkeypatch)
    named = tmp_path / "chrome"
    monkeypatch.setenv("CHROMIUM", str(named))
    with pytest.raises(Failure, match=r"browser\.missing|is no program"):
        chromium.ensure()
    named.touch(mode=0o755)
    assert chromium.ensure() == named
    assert host.installed == []
