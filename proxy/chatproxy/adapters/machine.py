"""Disk and memory of the machine, as a container sees them: /proc and a volume's file system are the host's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from chatproxy.core.condition import Machine

_MEMINFO = Path("/proc/meminfo")


def look(folder: Path, meminfo: Path = _MEMINFO) -> Machine | None:
    """`folder` lies on the disk that holds the appliance's data. None where the system does not tell (not Linux)."""
    try:
        disk = shutil.disk_usage(folder)
        found = re.findall(r"^(MemTotal|MemAvailable): +(\d+) kB$", meminfo.read_text(encoding="ascii"), re.MULTILINE)
        memory = {name: int(kilobytes) * 1024 for name, kilobytes in found}
        return Machine(disk.total, disk.free, memory["MemTotal"], memory["MemAvailable"])
    except (OSError, KeyError):
        return None
