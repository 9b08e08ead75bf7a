"""What Docker Compose is called with."""

from __future__ import annotations

from pathlib import Path

from scripts.lib.compose import Compose


def test_the_shell_names_neither_volumes_nor_secrets(tmp_path: Path) -> None:
    """Also where resolved.env is of a version that did not write them down."""
    environment = Compose("chatbot", resolved=tmp_path / "none").environment()
    for name in ("DATA_NAME", "SECRETS_DIR", "DOMAIN"):
        assert name in environment and environment[name] is None
