"""A folder for the state, and a stand-in for the program `wg` that makes keys of the right shape."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images.wireguard.vpn.settings import Settings
from images.wireguard.vpn.state import State

# pubkey: the same of the same, as the real one; what it was called with is written down.
_WG = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case $1 in
    pubkey) digest=$(sha256sum) ;;
    *) digest=$(head -c 32 /dev/urandom | sha256sum) ;;
esac
python3 -c 'import base64, sys; print(base64.b64encode(bytes.fromhex(sys.argv[1])).decode())' "${digest%% *}"
"""


@pytest.fixture
def wg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stand-in, first on PATH; `calls` in it has the arguments of each call."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "wg").write_text(_WG)
    (folder / "wg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(folder=tmp_path / "state")


@pytest.fixture
def state(settings: Settings) -> State:
    settings.folder.mkdir()
    made = State(settings.folder)
    made.prepare()
    return made
