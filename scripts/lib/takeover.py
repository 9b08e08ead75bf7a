"""Files and folders that take the place of others all together, or not at all, whatever kills it in between.

The journal names every move before the first one is made, and goes once the last one is. Where it is still there, the
moves were broken off: `back` undoes those that were made. Of what was replaced there is a record once it is all there.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.lib import paths
from scripts.lib.failure import Failure

JOURNAL = paths.STATE / "takeover.json"
_RECORD = "moves.json"


def check_links(places: Iterable[Path]) -> None:
    """Failure `restore.link` where one of them is a link: what lies elsewhere would be left there, and out of use."""
    for place in places:
        if place.is_symlink():
            there = os.path.realpath(place)
            fact = f"{place} leads to {there}, which would not be exchanged but left there, unused"
            words = shlex.join(["cp", "--archive", there, str(place)])
            hint = f"put that itself there, if only for now: rm {shlex.quote(str(place))} && {words}"
            raise Failure("restore.link", fact, hint)


def take(new: Mapping[Path, Path], before: Path, journal: Path = JOURNAL) -> None:
    """Move each new one (value) to its place (key); what was there goes to the folder `before`, which is emptied first.

    All of them have to lie on one file system. A place whose value does not exist is left empty.
    """
    back(journal)
    shutil.rmtree(before, ignore_errors=True)
    before.mkdir(mode=0o700, parents=True)
    moves = [
        {"place": str(place), "new": str(each) if os.path.lexists(each) else "", "old": str(before / str(index))}
        for index, (place, each) in enumerate(new.items())
    ]
    write(journal, json.dumps({"before": str(before), "moves": moves}))
    for move in moves:
        if os.path.lexists(move["place"]):
            Path(move["place"]).rename(move["old"])
        if move["new"]:
            Path(move["place"]).parent.mkdir(parents=True, exist_ok=True)
            Path(move["new"]).rename(move["place"])
    write(before / _RECORD, json.dumps([move["place"] for move in moves]))
    _end(journal, moves)


def back(journal: Path = JOURNAL) -> bool:
    """Undo moves that were broken off; may itself be killed and repeated. False where there were none."""
    if not journal.exists():
        return False
    told = json.loads(journal.read_text(encoding="utf-8"))
    (Path(told["before"]) / _RECORD).unlink(missing_ok=True)
    for move in reversed(told["moves"]):
        # A new one still lies where it was made until it has been moved. Nothing is ever thrown away here.
        if move["new"] and not os.path.lexists(move["new"]):
            Path(move["place"]).rename(move["new"])
        if os.path.lexists(move["old"]):
            Path(move["old"]).rename(move["place"])
    _end(journal, told["moves"])
    return True


def taken_from(before: Path) -> dict[Path, Path]:
    """{place: what was there before}, for a `take` that leads back; empty where there was none."""
    try:
        places = json.loads((before / _RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {Path(place): before / str(index) for index, place in enumerate(places)}


def _end(journal: Path, moves: Sequence[Mapping[str, str]]) -> None:
    # Before the journal is gone for good, every move has to be there for good.
    for folder in sorted({Path(path).parent for move in moves for path in move.values() if path}):
        if folder.is_dir():
            sync(folder)
    journal.unlink()
    sync(journal.parent)


def write(path: Path, text: str) -> None:
    """All of it or nothing, and on the disk before this returns."""
    draft = path.with_suffix(".part")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file, or what a folder names, on the disk before this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
