"""Whether what an upgrade copies fits on the disk that it goes to: looked at before anything is copied."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from scripts.lib import host_facts, log
from scripts.lib.failure import Failure

# Beside what is counted: logs, git's own, and folders themselves.
_SPARE = 128 * 2**20
_UNIT = 512  # bytes, of st_blocks: stat(2)


def check(paths: Iterable[Path], target: Path) -> None:
    """Failure `disk.too_small` unless these files and folders fit a second time where `target` lies, or will lie."""
    sizes = {path: taken(path) for path in paths}
    free = host_facts.free_below(target)
    needed = sum(sizes.values()) + _SPARE
    if sizes and free < needed:
        largest = max(sizes, key=lambda path: sizes[path])
        fact = f"{target} takes a copy of {log.size(needed)}, and its disk has {log.size(free)} free"
        hint = f"the largest is {largest}, {log.size(sizes[largest])}: move it out of this folder, or free some space"
        raise Failure("disk.too_small", fact, f"{hint}; nothing was changed")


def taken(path: Path) -> int:
    """Bytes on the disk of a file, or of all in a folder; links lead nowhere here. What is closed to this user counts
    nothing."""
    if path.is_symlink() or not path.is_dir():
        return _blocks(path)
    return sum(_blocks(Path(here, name)) for here, _, names in os.walk(path) for name in names)


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks * _UNIT
    except OSError:
        return 0
