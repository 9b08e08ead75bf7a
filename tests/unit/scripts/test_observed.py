"""What runs, as Docker, the proxy and the kernel tell it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest

from scripts.lib import docker_daemon, observed, shell
from scripts.lib.compose import Compose, Container

MONGO, PROXY = "a" * 64, "b" * 64
# Linux 6.1, shortened; the second as systemd names the group.
KERNEL = f"""
[1.0] oom-kill:constraint=CONSTRAINT_MEMCG,cpuset={PROXY},oom_memcg=/docker/{MONGO},task=mongod,pid=9,uid=10001
[2.0] oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/system.slice/docker-{"c" * 64}.scope,task=python3,pid=10
"""


class Appliance:
    """The one thing that is asked of Compose."""

    def containers(self) -> list[Container]:
        return [
            Container(identity[:12], service, service, "running", "healthy", 0, "Up")
            for service, identity in (("mongo", MONGO), ("proxy", PROXY))
        ]


def _ask(*words: str, **_: Any) -> tuple[int, str, str]:
    if words[0] != "inspect":
        return 0, "", ""
    state = {"OOMKilled": False, "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00.000000000Z"}
    return 0, json.dumps([{"Id": each, "State": state, "HostConfig": {"Memory": 7}} for each in (MONGO, PROXY)]), ""


@pytest.mark.parametrize(("said", "expected"), [(KERNEL, {"mongo"}), ("", set())])
def test_the_kernel_remembers_whom_it_ended_for_memory_when_docker_does_not(
    monkeypatch: pytest.MonkeyPatch, said: str, expected: set[str]
) -> None:
    asked: list[Sequence[str]] = []

    def capture(command: Sequence[str], **_: Any) -> tuple[int, str, str]:
        asked.append(command)
        return 0, said, ""

    monkeypatch.setattr(docker_daemon, "ask", _ask)
    monkeypatch.setattr(shell, "capture", capture)
    running = observed.containers(cast(Compose, Appliance()))
    assert {one.service for one in running if one.oom_killed} == expected
    assert asked[0][-1] == "dmesg"
