"""How much memory processes take while something runs: sampled, with all of their children."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

_EVERY_S = 0.5


class Watched:
    """Peaks of the sums over each named process and those it started, in bytes.

    `pss` shares what several processes map among them; `rss` counts it in each.
    """

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = processes
        self.pss = dict.fromkeys(processes, 0)
        self.rss = dict.fromkeys(processes, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_S):
            for name, pid in self._processes.items():
                sizes = [_sizes(each) for each in _family(pid)]
                self.rss[name] = max(self.rss[name], sum(rss for rss, _ in sizes))
                self.pss[name] = max(self.pss[name], sum(pss for _, pss in sizes))


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


def _sizes(pid: int) -> tuple[int, int]:
    """(RSS, PSS); zeros for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return kilobytes.get("Rss", 0) * 1024, kilobytes.get("Pss", 0) * 1024
