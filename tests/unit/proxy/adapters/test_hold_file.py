"""The file that holds the gate: it counts until its time is over, and one that cannot be read holds nobody."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from chatproxy.adapters.hold_file import Hold, HoldFile


class Now:
    def __init__(self) -> None:
        self.moment = 1_000.0

    def __call__(self) -> float:
        return self.moment


class Told(list[tuple[float, bool]]):
    def __call__(self, seconds: float, turn_away: bool) -> None:
        self.append((seconds, turn_away))


def test_a_change_is_told_once_with_the_seconds_that_are_left(tmp_path: Path) -> None:
    now, told = Now(), Told()
    file = HoldFile(tmp_path / "hold.json", now)
    known = file.look(Hold(0.0), told)
    assert told == []
    file.write(120)
    now.moment += 20
    known = file.look(known, told)
    known = file.look(known, told)
    assert told == [(100.0, False)]
    file.write(60, turn_away=True)
    known = file.look(known, told)
    file.remove()
    file.look(known, told)
    assert told[1:] == [(60.0, True), (0.0, False)]
    assert list(tmp_path.iterdir()) == []


def test_one_whose_time_is_over_holds_nobody(tmp_path: Path) -> None:
    now, told = Now(), Told()
    file = HoldFile(tmp_path / "hold.json", now)
    file.write(60)
    now.moment += 61
    file.look(Hold(0.0), told)
    assert told == [(0.0, False)]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '{"until": "soon"}', '{"until": Infinity, "turn_away": false}'),
        f'{{"until": {10**400}, "turn_away": false}}',
    ],
)
def test_one_that_makes_no_sense_holds_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "hold.json").write_text(text)
    assert HoldFile(tmp_path / "hold.json").read() == Hold(0.0)


def test_the_watch_sees_it_come_and_go(tmp_path: Path) -> None:
    came, went = threading.Event(), threading.Event()
    file = HoldFile(tmp_path / "hold.json")
    file.watch(lambda seconds, _: (came if seconds else went).set(), every_s=0.01)
    file.write(60)
    assert came.wait(5)
    file.remove()
    assert went.wait(5)
