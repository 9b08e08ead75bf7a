"""Whether what was started can be opened: asked before anybody is let in, visitors or admins.

Until then nobody can write what the way back would lose, nor have mail sent: the proxy sends it where somebody who is
let in asks for it, and at no other time.
"""

from __future__ import annotations

import time
from contextlib import suppress

from scripts.lib import docker_daemon, log, services, shell, switch
from scripts.lib.compose import Compose
from scripts.lib.failure import Failure

# The only services that are reached from outside: by visitors, and by the VPN's peers.
DOORS = ("caddy", "wireguard")
_DOOR_S = 90.0
_POLL_S = 0.5
_LOG_LINES = "15"


def answer(appliance: Compose) -> None:
    """Ask a question as a client does, through proxy, database and engine. Failure as the proxy words it."""
    words = ["python3", "-m", "chatproxy", "try-chat"]
    status, out, err = appliance.run_in("proxy", words, switch.TRIAL_TIMEOUT_S)
    if status != 0:
        if refused := services.refusal(err):
            raise refused
        last = (err.strip().splitlines() or ["no reason given"])[-1]
        raise Failure("upgrade.no_answer", f"no answer comes out of it: {last}", "`make logs SERVICE=proxy` shows more")
    log.ok(f"it answers: {out.strip()!r}")


def doors(appliance: Compose) -> None:
    """Have those of them that there are get well, as Caddy with its configuration and certificates, without a port of
    the host. Failure `service.unhealthy` where one does not."""
    there = appliance.config()["services"]
    for service in DOORS:
        if service in there:
            _door(appliance, service)


def _door(appliance: Compose, service: str) -> None:
    name = f"{appliance.project}-try-{service}"
    docker_daemon.ask("rm", "--force", name)
    words = appliance.command("run", "--detach", "--no-deps", "--name", name, service)
    try:
        status, _, err = shell.capture(words, timeout=_DOOR_S, env=appliance.environment())
        if status != 0:
            last = (err.strip().splitlines() or ["no reason given"])[-1]
            raise Failure("docker.refused", f"{service} could not be started: {last}", "`make doctor` looks closer")
        deadline = time.monotonic() + _DOOR_S
        while (state := _state(name)) != "running healthy":
            if time.monotonic() > deadline or not state.startswith("running"):
                raise _unwell(service, name, state)
            time.sleep(_POLL_S)
        log.ok(f"{service} is well with its configuration")
    finally:
        with suppress(Failure):
            docker_daemon.ask("rm", "--force", "--volumes", name)


def _state(name: str) -> str:
    form = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
    return docker_daemon.ask("inspect", "--format", form, name)[1].strip()


def _unwell(service: str, name: str, state: str) -> Failure:
    _, out, err = docker_daemon.ask("logs", "--tail", _LOG_LINES, name)
    log.error(f"the last lines of {service}:")
    for line in (out + err).splitlines():
        log.info(f"| {line}")
    return Failure("service.unhealthy", f"{service} did not become healthy ({state or 'it is gone'})", "see above why")
