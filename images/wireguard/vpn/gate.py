"""The gate: Caddy on the server's two addresses, as a user without any rights of this container's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .settings import Settings

CADDYFILE = Path(__file__).resolve().parents[1] / "Caddyfile"
# Console, engine UI, Grafana, Prometheus: the ports in the Caddyfile.
PORTS = (80, 3000, 5001, 9090)
# The appliance's one user (images/base).
_UID = 10001


def environment(settings: Settings) -> dict[str, str]:
    """What the Caddyfile reads, and nothing of this container's own environment but the path."""
    ipv4, ipv6 = settings.server
    return {
        "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        # It keeps nothing; these are where it would look.
        "HOME": "/tmp",  # noqa: S108 - the container's own
        "XDG_CONFIG_HOME": "/tmp",  # noqa: S108
        "XDG_DATA_HOME": "/tmp",  # noqa: S108
        "GATE_IPV4": str(ipv4),
        "GATE_IPV6": str(ipv6),
    }


def start(settings: Settings, caddyfile: Path = CADDYFILE) -> subprocess.Popen[bytes]:
    """Caddy's process. Leaving root's user takes all capabilities away from it."""
    command = ["caddy", "run", "--config", str(caddyfile), "--adapter", "caddyfile"]
    return subprocess.Popen(
        command, env=environment(settings), cwd="/", user=_UID, group=_UID, extra_groups=[], umask=0o077
    )
