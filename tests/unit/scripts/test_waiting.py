"""Starting services: what Docker has given up on for the moment is begun again at once."""

from __future__ import annotations

import pytest

from scripts.lib import docker_daemon, waiting
from scripts.lib.compose import Container


def container(name: str, state: str) -> Container:
    return Container(id=name, service=name, name=name, state=state, health="", exit_code=0, status="")


def test_only_what_keeps_ending_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker would wait up to a minute, and what is asked meanwhile would be told by the log of its last end."""
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(docker_daemon, "ask", lambda *words, **_: asked.append(words) or (0, "", ""))
    waiting._begin_again([container("proxy", "running"), container("caddy", "exited")])
    assert asked == []
    waiting._begin_again([container("mongo", "restarting"), container("proxy", "running")])
    assert asked == [("restart", "--time", "0", "mongo")]
