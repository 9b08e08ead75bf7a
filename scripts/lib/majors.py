from __future__ import annotations

from pathlib import Path

from scripts.lib.findings import Finding


def steps(old_root: Path, new_root: Path) -> list[Finding]:
    return []
