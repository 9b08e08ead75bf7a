"""Starting the services and waiting until each says that it is healthy."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterable

from scripts.lib import docker_daemon, log, observed, shell
from scripts.lib.compose import PROFILES, Compose, Container
from scripts.lib.failure import Failure

_POLL_S = 1.0
# Loading a large model from a slow disk is the longest step; after this long without any service getting ready,
# something is wrong.
_PATIENCE_S = 900.0
_HEARTBEAT_S = 20.0
_LOG_LINES = 15
# Seen restarting this often, a service will not get well by itself.
_RESTARTS = 4
_READY_PATIENCE_S = 60.0


def start(compose: Compose, *, without: Collection[str] = ()) -> int:
    """`docker compose up -d`, with a line for each service as it becomes healthy. Returns how many were started anew.

    The services `without`, which none of the others needs, are left as they are.
    Failure `service.unhealthy` names the services that did not, after their last log lines.
    """
    before = compose.containers()
    running = {container.id for container in before if container.state == "running"}
    expected = set(compose.config()["services"])
    listed = {container.service for container in before}
    for service in sorted((PROFILES.keys() & listed | {"engine"}) - expected):
        # What ran here until now belongs to no profile any more, and Compose would leave it.
        compose.ask("--profile", PROFILES[service], "rm", "--stop", "--force", service)
    expected -= set(without)
    _begin_again([container for container in before if container.service in expected])
    named = sorted(expected) if without else []
    containers = _up(compose, ["--remove-orphans", *named], expected, before)
    return sum(container.id not in running for container in containers)


def _begin_again(containers: Iterable[Container]) -> None:
    """Docker waits longer each time that it starts what keeps ending, up to a minute; the reason may be mended now."""
    if ids := [container.id for container in containers if container.state == "restarting"]:
        docker_daemon.ask("restart", "--time", "0", *ids)


def start_one(compose: Compose, service: str, *, alone: bool = True) -> None:
    """`docker compose up -d` for one service; the others stay as they are. Failures as in `start`.

    `alone` leaves out what it depends on, too. Compose then takes its `depends_on` for empty and would start it anew
    with the next `up`, so that is for services which come back by themselves anyway.
    """
    _up(compose, ["--no-deps", service] if alone else [service], {service}, compose.containers())


def _up(compose: Compose, words: list[str], expected: set[str], before: list[Container]) -> list[Container]:
    with log.file().open("ab") as log_file:
        starting = subprocess.Popen(
            compose.command("up", "--detach", "--no-build", "--pull", "never", *words),
            stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, env=shell.environment(compose.environment()),
        )  # fmt: skip
        try:
            return _watch(compose, starting, expected, {container.id for container in before})
        except BaseException:
            starting.terminate()
            starting.wait()
            raise


def _watch(
    compose: Compose, starting: subprocess.Popen[bytes], expected: set[str], before: set[str]
) -> list[Container]:
    began = progressed = spoken = time.monotonic()
    well: dict[str, str] = {}
    restarting: Counter[str] = Counter()
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
        restarting.update(c.id for c in containers if c.state == "restarting")
        broken = [c.service for c in containers if finished and c.state in ("exited", "dead")]
        broken += [c.service for c in containers if restarting[c.id] >= _RESTARTS]
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


def until_ready(compose: Compose) -> None:
    """Wait until the proxy itself says that it can answer. Failure `appliance.not_ready` names what is missing."""
    deadline = time.monotonic() + _READY_PATIENCE_S
    while True:
        answer = observed.readyz_inside(compose) or {}
        if answer.get("status") == "ready":
            return
        if time.monotonic() > deadline:
            checks: dict[str, dict[str, str]] = answer.get("checks", {})
            missing = [
                f"{name} ({check.get('reason', 'no reason given')})"
                for name, check in checks.items()
                if not check["ok"]
            ]
            raise Failure(
                "appliance.not_ready",
                f"everything runs, but it cannot answer yet: {', '.join(missing) or 'the proxy says nothing'}",
                "`make doctor` looks closer; with ENGINE=external see that ENGINE_URL answers from this machine",
            )
        time.sleep(_POLL_S)


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
