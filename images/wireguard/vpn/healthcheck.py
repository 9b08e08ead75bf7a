"""Exit status 0 when wg0 is up and the gate answers; else 1 with the reason, which `docker inspect` then shows."""

from __future__ import annotations

import http.client
import os
import sys
from pathlib import Path

from .settings import INTERFACE, Settings

_TIMEOUT_S = 5.0
_IFF_UP = 1
_MISDIRECTED = 421


def trouble(settings: Settings, interfaces: Path = Path("/sys/class/net"), port: int = 80) -> str | None:
    """What is wrong, or None."""
    try:
        flags = int((interfaces / INTERFACE / "flags").read_text(), 16)
    except OSError:
        return f"there is no {INTERFACE}"
    if not flags & _IFF_UP:
        return f"{INTERFACE} is down"
    host = str(settings.server[0])
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        # A name that the gate does not answer to: its refusal shows that it lives, and asks nothing of the console.
        connection.request("GET", "/", headers={"Host": "healthcheck.invalid"})
        status = connection.getresponse().status
    except OSError as error:
        return f"the gate on {host} does not answer: {error}"
    finally:
        connection.close()
    return None if status == _MISDIRECTED else f"the gate on {host} answered {status}"


if __name__ == "__main__":
    sys.exit(trouble(Settings.read(os.environ)))
