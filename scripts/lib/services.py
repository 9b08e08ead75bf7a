"""What commands do with single services."""

from __future__ import annotations

from scripts.lib import compose, log
from scripts.lib.compose import Compose
from scripts.lib.failure import Failure


def named(appliance: Compose, service: str) -> list[str]:
    """[service], or [] for all. Failure when there is none of that name."""
    if not service:
        return []
    known = sorted(appliance.config()["services"])
    if service not in known:
        raise Failure("service.unknown", f"there is no service {service}", f"choose one of: {', '.join(known)}")
    return [service]


def keys(arguments: list[str]) -> int:
    """The proxy's own command line for keys, run inside its container; its output and exit status are ours."""
    appliance = compose.current()
    status, out, err = appliance.run_in("proxy", ["python3", "-m", "chatproxy", "keys", *arguments])
    for line in err.splitlines():
        log.info(line)
    if out:
        log.result(out.rstrip("\n"))
    if status != 0 and not any(c.service == "proxy" and c.state == "running" for c in appliance.containers()):
        raise Failure(
            "service.stopped", "keys are kept by the proxy, which is not running", "`make up`, then try again"
        )
    return status
