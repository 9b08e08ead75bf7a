"""What the tests of upgrades share: a home with versions, and a checkout of it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

_WHO = ("-c", "user.name=Home", "-c", "user.email=home@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *_WHO, "-C", str(folder), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path, title: str, files: Mapping[str, str]) -> str:
    """A commit in which these files have these texts; its id."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "--force", "--", *files)
    git(folder, "commit", "--quiet", "--allow-empty", f"--message={title}")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    git(home, "init", "--quiet", "--initial-branch=main")
    commit(home, "First", {"a.txt": "a\n", "sub/b.txt": "b\n", ".gitignore": "/.appliance/\n/.env\n/models/*\n"})
    return home


@pytest.fixture
def checkout(tmp_path: Path, home: Path) -> Path:
    git(tmp_path, "clone", "--quiet", str(home), str(tmp_path / "checkout"))
    return tmp_path / "checkout"
