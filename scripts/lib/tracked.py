"""The files that git has or would take: what linters and `make audit` look at."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scripts.lib import paths


def files() -> list[Path]:
    """All of them, as absolute paths."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=paths.ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [paths.ROOT / name for name in listed if (paths.ROOT / name).is_file()]


def interpreter(file: Path) -> str:
    """The `#!` line of a file without an extension; "" for any other."""
    if file.suffix:
        return ""
    with file.open("rb") as opened:
        line = opened.readline(80)
    return line.decode("utf-8", "replace").strip() if line.startswith(b"#!") else ""
