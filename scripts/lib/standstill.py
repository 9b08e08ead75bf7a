"""How long nobody was answered: from the moment when the first container was told to end until visitors are let in."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timezone

from scripts.lib import docker_daemon
from scripts.lib.compose import Compose
from scripts.lib.failure import Failure

# The only service that visitors reach; it is started last, once those that answer them are well.
_DOOR = "caddy"


def told(appliance: Compose, stopped: float) -> str:
    """`nobody was answered for 63 s`: seconds from `stopped`, since the epoch, to the last start of the door.

    To now where Docker does not say when that was.
    """
    return f"nobody was answered for {max(0.0, _opened(appliance) - stopped):.0f} s"


def _opened(appliance: Compose) -> float:
    # What `make up` does after it has opened the door is nobody's standstill.
    with suppress(Failure, ValueError, StopIteration):
        door = next(each for each in appliance.containers() if each.service == _DOOR)
        started = docker_daemon.ask("inspect", "--format", "{{.State.StartedAt}}", door.id)[1]
        # 2026-11-22T15:04:05.123456789Z: nanoseconds, which datetime does not read, in as many digits as it takes.
        second, _, fraction = started.strip().rstrip("Z").partition(".")
        return datetime.fromisoformat(second).replace(tzinfo=timezone.utc).timestamp() + float(f"0.{fraction or 0}")
    return time.time()
