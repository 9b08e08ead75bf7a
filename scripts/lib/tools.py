"""Running the project's own tools out of its virtual environment."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scripts.lib import log, paths, shell, venv


def run(command: Sequence[str | Path], **environment: str) -> int:
    """Exit status of a tool that speaks to the terminal itself, with the virtual environment first on PATH."""
    path = f"{paths.VENV / 'bin'}:{shell.environment()['PATH']}"
    changes = {"PATH": path, "VIRTUAL_ENV": str(paths.VENV), **environment}
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=paths.ROOT, env=shell.environment(changes), check=False).returncode


def pytest(*arguments: str) -> int:
    """pytest with ARGS from the command line behind its own arguments."""
    log.step(f"pytest {' '.join(arguments)}")
    extra = shlex.split(os.environ.get("ARGS", ""))
    colour = ["--color=no"] if log.plain() else []
    return run([venv.ensure(), "-m", "pytest", *colour, *arguments, *extra])
