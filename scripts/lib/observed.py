"""What runs, as Docker and the proxy tell it; read by `make status` and `make doctor`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from scripts.lib import docker_daemon, shell
from scripts.lib.compose import Compose, Container


@dataclass(frozen=True)
class Running:
    """One container. memory and its limit in bytes (0 = unknown or none), up_s in seconds since its last start.

    oom_killed: something in it was ended for want of memory since the container was made, as far as Docker or the
    kernel's log still know.
    """

    service: str
    state: str
    health: str
    restarts: int
    oom_killed: bool
    exit_code: int
    up_s: float
    memory: int
    memory_limit: int
    last_check: str

    @property
    def well(self) -> bool:
        return self.state == "running" and self.health in ("healthy", "")


def containers(appliance: Compose) -> list[Running]:
    """All containers of the appliance, by service."""
    listed = appliance.containers()
    if not listed:
        return []
    by_id = {entry["Id"][:12]: entry for entry in _json(docker_daemon.ask("inspect", *(c.id for c in listed)))}
    running = [c.id for c in listed if c.state == "running"]
    used = _memory(running) if running else {}
    ended = _ended_for_memory()
    return [_running(c, by_id.get(c.id[:12], {}), used.get(c.id[:12], 0), c.id[:12] in ended) for c in listed]


def _json(answer: tuple[int, str, str]) -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = json.loads(answer[1]) if answer[0] == 0 else []
    return parsed


def _ended_for_memory() -> set[str]:
    """Short ids of containers in which the kernel has ended something. Docker forgets it with the next start, and never
    knew of a process that was not the first."""
    _, said, _ = shell.capture(shell.as_root(["dmesg"]), timeout=10)
    return {found[:12] for found in re.findall(r"oom_memcg=\S*?([0-9a-f]{64})", said)}


def _running(container: Container, inspected: Mapping[str, Any], memory: int, oom: bool) -> Running:
    state = inspected.get("State", {})
    checks = (state.get("Health") or {}).get("Log") or []
    return Running(
        service=container.service,
        state=container.state,
        health=container.health,
        restarts=int(inspected.get("RestartCount", 0)),
        oom_killed=oom or bool(state.get("OOMKilled")),
        exit_code=int(state.get("ExitCode", 0)),
        up_s=_seconds_since(str(state.get("StartedAt", ""))) if container.state == "running" else 0.0,
        memory=memory,
        memory_limit=int(inspected.get("HostConfig", {}).get("Memory", 0)),
        last_check=str(checks[-1].get("Output", "")).strip() if checks else "",
    )


def _seconds_since(timestamp: str) -> float:
    # Docker writes nanoseconds, which datetime does not read.
    try:
        moment = datetime.fromisoformat(timestamp[:19]).replace(tzinfo=timezone.utc)
    except ValueError:
        return 0.0
    return (datetime.now(timezone.utc) - moment).total_seconds()


def _memory(ids: list[str]) -> dict[str, int]:
    """{short id: bytes in use}, page cache left out as `docker stats` does."""
    status, out, _ = docker_daemon.ask("stats", "--no-stream", "--format", "{{.ID}} {{.MemUsage}}", *ids, timeout=30)
    if status != 0:
        return {}
    lines = (line.split() for line in out.splitlines())
    return {words[0][:12]: bytes_of(words[1]) for words in lines if len(words) > 1}


def bytes_of(text: str) -> int:
    """Bytes of Docker's '123.4MiB'."""
    units = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
    number = text.rstrip("BKMGikT")
    try:
        return int(float(number) * units[text[len(number) :]])
    except (ValueError, KeyError):
        return 0


def readyz_inside(appliance: Compose) -> dict[str, Any] | None:
    """/readyz asked from within the proxy's own container; None when it does not answer at all."""
    ask = (
        "import urllib.request as r, urllib.error as e\n"
        "try: print(r.urlopen('http://127.0.0.1:8080/readyz', timeout=10).read().decode())\n"
        "except e.HTTPError as error: print(error.read().decode())"
    )
    status, out, _ = appliance.run_in("proxy", ["python3", "-c", ask], timeout=30)
    try:
        answer: dict[str, Any] = json.loads(out) if status == 0 else {}
    except ValueError:
        return None
    return answer or None
