"""Starting the services and waiting until each says that it is healthy."""

from __future__ import annotations

import subprocess
import time

from scripts.lib import log, shell
from scripts.lib.compose import Compose, Container
from scripts.lib.failure import Failure

_POLL_S = 1.0
# Loading a large model from a slow disk is the longest step; after this long without any service getting ready,
# something is wrong.
_PATIENCE_S = 900.0
_HEARTBEAT_S = 20.0
_LOG_LINES = 15


def start(compose: Compose) -> int:
    """`docker compose up -d`, with a line for each service as it becomes healthy. Returns how many were started anew.

    Failure `service.unhealthy` names the services that did not, after their last log lines.
    """
    before = compose.containers()
    running = {container.id for container in before if container.state == "running"}
    expected = set(compose.config()["services"])
    with log.file().open("ab") as log_file:
        starting = subprocess.Popen(
            compose.command("up", "--detach", "--no-build", "--pull", "never", "--remove-orphans"),
            stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, env=shell.environment(compose.environment()),
        )  # fmt: skip
        try:
            containers = _watch(compose, starting, expected, {container.id for container in before})
        except BaseException:
            starting.terminate()
            starting.wait()
            raise
    return sum(container.id not in running for container in containers)


def _watch(
    compose: Compose, starting: subprocess.Popen[bytes], expected: set[str], before: set[str]
) -> list[Container]:
    began = progressed = spoken = time.monotonic()
    well: dict[str, str] = {}
    while True:
        finished = starting.poll() is not None
        containers = [c for c in compose.containers() if c.service in expected]
        now = time.monotonic()
        for container in containers:
            if container.well and well.get(container.service) != container.id:
                well[container.service] = container.id
                progressed = spoken = now
                if container.id not in before:
                    log.ok(f"{container.service} healthy after {log.duration(now - began)}")
        unwell = sorted(expected - {c.service for c in containers if c.well})
        if finished and not unwell and starting.returncode == 0:
            return containers
        broken = [c.service for c in containers if finished and c.state in ("exited", "dead")]
        # While Compose is at work, an old container may be unhealthy because it is about to be replaced.
        broken += [c.service for c in containers if c.health == "unhealthy" and (finished or c.id not in before)]
        refused = finished and starting.returncode != 0
        if broken or refused:
            # Others merely wait for the one that keeps ending.
            broken += [c.service for c in containers if c.state == "restarting"]
            if not broken:
                raise _refusal()
            raise _failure(compose, sorted(set(broken)), "did not become healthy")
        if now - progressed > _PATIENCE_S:
            raise _failure(compose, unwell, f"got no further within {log.duration(_PATIENCE_S)}")
        if now - spoken > _HEARTBEAT_S:
            log.info(f"waiting for {', '.join(unwell)} ({log.duration(now - began)})")
            spoken = now
        time.sleep(_POLL_S)


def _refusal() -> Failure:
    """Docker itself could not start a container; its reason is the last thing that Compose wrote."""
    lines = log.file().read_text(encoding="utf-8", errors="replace").splitlines()
    reason = next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")
    hint = f"`make doctor` looks closer; the whole output is in {log.file()}"
    return Failure("docker.refused", f"Docker could not start the services: {reason}", hint)


def _failure(compose: Compose, services: list[str], what: str) -> Failure:
    for service in services:
        lines = compose.logs(service, _LOG_LINES)
        log.error(f"the last lines of {service}:")
        for line in lines or ["(it wrote nothing)"]:
            log.info(f"| {line}")
    names = ", ".join(services)
    hint = (
        f"`make doctor` looks closer, `make logs SERVICE={services[0]}` shows more; `make up` again goes on from here"
    )
    return Failure("service.unhealthy", f"{names} {what}", hint)
