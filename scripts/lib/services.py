"""What commands do with single services."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import BinaryIO, Protocol

from scripts.lib import compose, dev_stack, log
from scripts.lib.compose import Compose, Container
from scripts.lib.failure import Failure

# How the proxy's command line says why something was not done: see chatproxy/commands.py.
_TIMEOUT_S = 60.0
_FINDING = re.compile(r"^([a-z_]+\.[a-z_]+): (.+)(?:\n  -> (.+))?$", re.MULTILINE)


def named(appliance: Compose, service: str) -> list[str]:
    """[service], or [] for all. Failure when there is none of that name."""
    if not service:
        return []
    known = sorted(appliance.config()["services"])
    if service not in known:
        raise Failure("service.unknown", f"there is no service {service}", f"choose one of: {', '.join(known)}")
    return [service]


class Inside(Protocol):
    """What `own_command` needs of Compose."""

    def run_in(self, service: str, command: Sequence[str]) -> tuple[int, str, str]: ...

    def feed(self, service: str, command: Sequence[str], given: BinaryIO, timeout: float) -> tuple[int, str, str]: ...

    def containers(self) -> list[Container]: ...


def refusal(err: str) -> Failure | None:
    """What the proxy's command line says was not done, taken out of its stderr; None where it says nothing of it."""
    found = _FINDING.search(err)
    return Failure(*found.groups("")) if found else None


def own_command(
    family: str, arguments: Sequence[str], appliance: Inside | None = None, *, given: BinaryIO | None = None
) -> int:
    """The proxy's own command line (`keys`, `admins`), run inside its container; its output and exit status are ours.

    Without an `appliance` it is `make dev` where that runs, else the one in this folder. `given` is its stdin. Failure
    for what the command line says was not done.
    """
    appliance = appliance or dev_stack.running() or compose.current()
    command = ["python3", "-m", "chatproxy", family, *arguments]
    if given is None:
        status, out, err = appliance.run_in("proxy", command)
    else:
        status, out, err = appliance.feed("proxy", command, given, _TIMEOUT_S)
    if out:
        log.result(out.rstrip("\n"))
    if status != 0 and (refused := refusal(err)):
        raise refused
    for line in err.splitlines():
        log.info(line)
    if status != 0 and not any(c.service == "proxy" and c.state == "running" for c in appliance.containers()):
        raise Failure(
            "service.stopped", f"{family} are kept by the proxy, which is not running", "`make up`, then try again"
        )
    return status
