"""How fast this machine reads its memory: a model's speed is that divided by its weights."""

from __future__ import annotations

import ctypes
import itertools
import json
import mmap
import threading
import time
from pathlib import Path

from scripts.lib import paths

_REMEMBERED = paths.STATE / "bandwidth.json"
# More than a processor's caches hold.
_BYTES = 256 << 20
_PASS = 16 << 20
_SECONDS = 0.2


def known(machine: str, threads: int, *, anew: bool = False, file: Path = _REMEMBERED) -> int:
    """Bytes per second, as measured before on this `machine` (any name for it) or in half a second now."""
    key = f"{machine}, {threads} threads"
    try:
        remembered = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        remembered = {}
    if not anew and isinstance(remembered.get(key), int):
        return int(remembered[key])
    # A single reader is often faster where another program holds the second core.
    found = max(measured(count) for count in {1, threads})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({key: found}) + "\n", encoding="utf-8")
    return found


def measured(threads: int, size: int = _BYTES, seconds: float = _SECONDS) -> int:
    """Bytes per second that so many threads read together, by libc's search for a byte that is not there.

    What other programs take is left out as far as possible: the quick quarter of the passes tells what memory can do.
    """
    # ctypes lets other threads run while a function of libc works.
    search = ctypes.CDLL(None).memchr
    search.argtypes, search.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
    with mmap.mmap(-1, size) as memory:
        start = ctypes.addressof(view := ctypes.c_char.from_buffer(memory))
        # Pages that were never written are all the same one.
        ctypes.memset(start, 1, size)
        passes: list[list[float]] = [[] for _ in range(threads)]
        end = time.perf_counter() + seconds

        def work(index: int) -> None:
            places = itertools.cycle(range(index * _PASS, size - _PASS + 1, threads * _PASS))
            while (began := time.perf_counter()) < end or not passes[index]:
                search(start + next(places), 2, _PASS)
                passes[index].append(time.perf_counter() - began)

        readers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        del view
    return int(sum(_PASS / sorted(times)[len(times) // 4] for times in passes))
