"""Whether what was started can be opened to visitors: asked before they are let in."""

from __future__ import annotations

import time
from contextlib import suppress

from scripts.lib import docker_daemon, log, services, shell, switch
from scripts.lib.compose import Compose
from scripts.lib.failure import Failure

# The only service that visitors reach.
DOOR = "caddy"
_DOOR_S = 90.0
_POLL_S = 0.5
_LOG_LINES = "15"


def answer(appliance: Compose) -> None:
    """Ask a question as a client does, through proxy, database and engine. Failure as the proxy words it."""
    words = ["python3", "-m", "chatproxy", "try-chat"]
    status, out, err = appliance.run_in("proxy", words, switch.TRIAL_TIMEOUT_S)
    if status != 0:
        if found := services.FINDING.search(err):
            raise Failure(found[1], found[2], found[3] or "")
        last = (err.strip().splitlines() or ["no reason given"])[-1]
        raise Failure("upgrade.no_answer", f"no answer comes out of it: {last}", "`make logs SERVICE=proxy` shows more")
    log.ok(f"it answers: {out.strip()!r}")


def door(appliance: Compose) -> None:
    """Have Caddy get well with its configuration and certificates, without a port of the host. Failure
    `service.unhealthy` where it does not."""
    name = f"{appliance.project}-try-{DOOR}"
    docker_daemon.ask("rm", "--force", name)
    words = appliance.command("run", "--detach", "--no-deps", "--name", name, DOOR)
    try:
        status, _, err = shell.capture(words, timeout=_DOOR_S, env=appliance.environment())
        if status != 0:
            last = (err.strip().splitlines() or ["no reason given"])[-1]
            raise Failure("docker.refused", f"{DOOR} could not be started: {last}", "`make doctor` looks closer")
        deadline = time.monotonic() + _DOOR_S
        while (state := _state(name)) != "running healthy":
            if time.monotonic() > deadline or not state.startswith("running"):
                raise _unwell(name, state)
            time.sleep(_POLL_S)
        log.ok(f"{DOOR} is well with its configuration")
    finally:
        with suppress(Failure):
            docker_daemon.ask("rm", "--force", "--volumes", name)


def _state(name: str) -> str:
    form = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
    return docker_daemon.ask("inspect", "--format", form, name)[1].strip()


def _unwell(name: str, state: str) -> Failure:
    _, out, err = docker_daemon.ask("logs", "--tail", _LOG_LINES, name)
    log.error(f"the last lines of {DOOR}:")
    for line in (out + err).splitlines():
        log.info(f"| {line}")
    return Failure("service.unhealthy", f"{DOOR} did not become healthy ({state or 'it is gone'})", "see above why")
