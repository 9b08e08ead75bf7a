"""What commands do with single services."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from scripts.lib import compose, log
from scripts.lib.compose import Compose, Container
from scripts.lib.failure import Failure

# How the proxy's command line says why something was not done: see chatproxy/commands.py.
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
    """What `keys` needs of Compose."""

    def run_in(self, service: str, command: Sequence[str]) -> tuple[int, str, str]: ...

    def containers(self) -> list[Container]: ...


def keys(arguments: list[str], appliance: Inside | None = None) -> int:
    """The proxy's own command line for keys, run inside its container; its output and exit status are ours.

    Without an `appliance` it is the one in this folder. Failure for what the command line says was not done.
    """
    appliance = appliance or compose.current()
    status, out, err = appliance.run_in("proxy", ["python3", "-m", "chatproxy", "keys", *arguments])
    if out:
        log.result(out.rstrip("\n"))
    if found := _FINDING.search(err) if status != 0 else None:
        raise Failure(*found.groups(""))
    for line in err.splitlines():
        log.info(line)
    if status != 0 and not any(c.service == "proxy" and c.state == "running" for c in appliance.containers()):
        raise Failure(
            "service.stopped", "keys are kept by the proxy, which is not running", "`make up`, then try again"
        )
    return status
