"""Text recognition for the tests: taken where it is, else installed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scripts.lib import apt, ocr, shell


@pytest.mark.parametrize(
    ("has", "offers", "expected"),
    [
        (True, True, []),
        (False, True, ["install tesseract-ocr"]),
        (False, False, ["update", "install tesseract-ocr"]),  # a machine whose lists of packages are empty
    ],
)
def test_it_is_installed_where_it_is_missing(
    has: bool, offers: bool, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def install(packages: Sequence[str]) -> None:
        done.append(f"install {' '.join(packages)}")

    monkeypatch.setattr(shell, "which", lambda program: f"/usr/bin/{program}" if has else None)
    monkeypatch.setattr(apt, "available", lambda package: offers)
    monkeypatch.setattr(apt, "update", lambda: done.append("update"))
    monkeypatch.setattr(apt, "install", install)
    ocr.ensure()
    assert done == expected
