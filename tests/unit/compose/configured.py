"""What Compose makes of the files, without a daemon and without a `.env`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = shutil.which("docker")


def config(*files: str, profile: str = "engine", **environment: str) -> dict[str, Any]:
    """The whole configuration, as `docker compose config` prints it; profile `*` is all of them."""
    assert COMPOSE
    words = [COMPOSE, "compose", "--project-directory", str(ROOT), "--env-file", "/dev/null", "--profile", profile]
    words += [word for file in files for word in ("-f", str(ROOT / file))]
    home = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [*words, "config", "--format", "json"], env={**home, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read
