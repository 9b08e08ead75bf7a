"""Files take others' places all together: killed at any step, what was before comes back whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import takeover


class Killed(BaseException):
    pass


def scene(root: Path) -> dict[Path, Path]:
    """A file and a folder that are replaced, a file that is new, and one that the new ones have none of."""
    for name, text in (("env", "old"), ("gone", "old")):
        (root / name).write_text(text)
    (root / "keys").mkdir()
    (root / "keys" / "a").write_text("old")
    new = root / "new"
    (new / "keys").mkdir(parents=True)
    (new / "keys" / "b").write_text("new")
    for name in ("env", "fresh"):
        (new / name).write_text("new")
    return {root / name: new / name for name in ("env", "keys", "fresh", "gone")}


def seen(root: Path) -> dict[str, str]:
    files = [each for each in root.rglob("*") if each.is_file()]
    names = [str(each.relative_to(root)) for each in files]
    kept = [(name, each.read_text()) for name, each in zip(names, files, strict=True)]
    return {name: text for name, text in kept if not name.startswith(("new/", "before", "journal"))}


OLD = {"env": "old", "gone": "old", "keys/a": "old"}
NEW = {"env": "new", "fresh": "new", "keys/b": "new"}


def test_all_of_them_take_their_places(tmp_path: Path) -> None:
    takeover.take(scene(tmp_path), tmp_path / "before", tmp_path / "journal")
    assert seen(tmp_path) == NEW
    assert takeover.back(tmp_path / "journal") is False
    assert seen(tmp_path) == NEW


def test_another_one_leads_back_to_what_was_before_and_forth_again(tmp_path: Path) -> None:
    takeover.take(scene(tmp_path), tmp_path / "before", tmp_path / "journal")
    takeover.take(takeover.taken_from(tmp_path / "before"), tmp_path / "before-2", tmp_path / "journal")
    assert seen(tmp_path) == OLD
    takeover.take(takeover.taken_from(tmp_path / "before-2"), tmp_path / "before", tmp_path / "journal")
    assert seen(tmp_path) == NEW
    assert takeover.taken_from(tmp_path / "nothing") == {}


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("again", range(6))
def test_killed_between_any_two_moves_on_the_way_and_on_the_way_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, again: int
) -> None:
    moves, rename = scene(tmp_path), os.rename
    _stop_after(monkeypatch, steps, rename)
    with pytest.raises(Killed):
        takeover.take(moves, tmp_path / "before", tmp_path / "journal")
    _stop_after(monkeypatch, again, rename)
    try:
        takeover.back(tmp_path / "journal")
    except Killed:
        monkeypatch.setattr("os.rename", rename)
        takeover.back(tmp_path / "journal")
    assert seen(tmp_path) == OLD


def _stop_after(monkeypatch: pytest.MonkeyPatch, moves: int, rename: Any) -> None:
    left = [moves]

    def counted(source: str, target: str) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        rename(source, target)

    monkeypatch.setattr("os.rename", counted)
