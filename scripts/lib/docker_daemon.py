"""The Docker daemon: reached, started under whatever init the machine has, and asked as the right user."""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib import log, shell
from scripts.lib.failure import Failure

_SOCKET = Path("/var/run/docker.sock")
_START_TIMEOUT_S = 60.0
_DAEMON_LOG = Path("/var/log/chatbot-dockerd.log")
_DAEMON_PID = Path("/run/chatbot-dockerd.pid")


@functools.cache
def _needs_sudo() -> bool:
    """True when this user may not open the daemon's socket (not root, not in the docker group)."""
    if shell.is_root() or os.environ.get("DOCKER_HOST"):
        return False
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(_SOCKET))
    except PermissionError:
        return True
    except OSError:
        return not os.access(_SOCKET, os.W_OK)
    return False


def docker(*arguments: str) -> list[str]:
    """A docker command line as this user has to call it."""
    command = ["docker", *arguments]
    return shell.as_root(command) if _needs_sudo() else command


def ask(*arguments: str, timeout: float = 60) -> tuple[int, str, str]:
    return shell.capture(docker(*arguments), timeout=timeout)


def info() -> dict[str, Any] | None:
    """`docker info` as Docker's own JSON, or None where no daemon answers."""
    if shutil.which("docker", path=shell.environment()["PATH"]) is None:
        return None
    status, out, _ = ask("info", "--format", "{{json .}}", timeout=20)
    if status != 0:
        return None
    try:
        facts: dict[str, Any] = json.loads(out)
    except ValueError:
        return None
    # Old clients print the client's half and exit 0 with the server's error inside.
    return facts if facts.get("ServerVersion") else None


def ensure_running() -> None:
    """Start the daemon if none answers: systemd, else the init script, else dockerd itself, detached."""
    if info() is not None:
        return
    ways: list[tuple[str, Sequence[str]]] = []
    if Path("/run/systemd/system").is_dir():
        ways.append(("systemd", ["systemctl", "enable", "--now", "docker"]))
    elif Path("/etc/init.d/docker").exists():
        ways.append(("its init script", ["service", "docker", "start"]))
    for name, command in ways:
        log.info(f"starting the Docker daemon through {name}")
        _needs_sudo.cache_clear()
        if shell.capture(shell.as_root(command), timeout=120)[0] == 0 and _answers(_START_TIMEOUT_S):
            return
        log.warn(f"{name} did not bring the Docker daemon up")
    if Path("/run/systemd/system").is_dir():
        raise Failure(
            "docker.start_failed",
            "systemd could not start the Docker daemon",
            "`journalctl -u docker -n 50` says why",
        )
    _start_detached()


def _start_detached() -> None:
    log.info(f"no service manager here: starting dockerd itself (log {_DAEMON_LOG}, pid {_DAEMON_PID})")
    script = f"nohup dockerd >>{_DAEMON_LOG} 2>&1 </dev/null & echo $! >{_DAEMON_PID}"
    subprocess.run(
        shell.as_root(["setsid", "sh", "-c", script]), env=shell.environment(), start_new_session=True, check=False
    )
    _needs_sudo.cache_clear()
    if not _answers(_START_TIMEOUT_S):
        last = shell.output(shell.as_root(["tail", "-n", "5", str(_DAEMON_LOG)])) or "nothing was logged"
        raise Failure(
            "docker.start_failed",
            f"dockerd did not come up within {_START_TIMEOUT_S:.0f} s; it said: {last}",
            f"read {_DAEMON_LOG}; dockerd needs cgroups, iptables and overlayfs",
        )


def _answers(timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if info() is not None:
            return True
        time.sleep(0.5)
    return False
