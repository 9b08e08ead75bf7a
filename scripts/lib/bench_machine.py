"""What a benchmark's figures belong to: the machine, and how much of its memory the appliance takes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from scripts.lib import bandwidth, host_facts


def machine() -> dict[str, str | int | float]:
    """CPU, cores, RAM in bytes, what one core reads of memory in bytes per second, and the system."""
    allowed = len(os.sched_getaffinity(0))
    return {
        "cpu": host_facts.cpu_name(),
        "cores": min(host_facts.cpu()[1], allowed),
        "cpus": allowed,
        "memory": host_facts.memory_sizes()[0],
        "bandwidth": bandwidth.measured(threads=1),
        "system": host_facts.os_release().get("PRETTY_NAME", os.uname().sysname),
    }


def memory_of(pids: Iterable[int], proc: Path = Path("/proc")) -> int:
    """Bytes in use by processes, what they share counted once (proportional set size). One that is gone has none."""
    total = 0
    for pid in pids:
        try:
            lines = (proc / str(pid) / "smaps_rollup").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def listener(port: int, proc: Path = Path("/proc")) -> int | None:
    """The process that listens on a loopback port; None where that cannot be seen."""
    wanted = f":{port:04X}"
    sockets = {
        f"socket:[{words[9]}]"
        for table in ("tcp", "tcp6")
        if (proc / "net" / table).is_file()
        for line in (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        if (words := line.split())[1].endswith(wanted) and words[3] == "0A"
    }
    for folder in proc.glob("[0-9]*/fd"):
        try:
            if any(str(entry.readlink()) in sockets for entry in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:
            continue
    return None


def family(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """The process that started `pid`, and all that it started."""
    parents = {}
    for folder in proc.glob("[0-9]*"):
        try:
            # pid (name, which may hold anything) state ppid ...
            words = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            parents[int(folder.name)] = int(words[1])
        except (OSError, IndexError, ValueError):
            continue
    found = [parents[pid]] if pid in parents else []
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found
