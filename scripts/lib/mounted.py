"""Configuration that containers read from compose/ when they start: a change there needs a restart, not a new image."""

from __future__ import annotations

import json

from scripts.lib import log, paths, shell
from scripts.lib.compose import Compose
from scripts.lib.images import digest_of

_STAMP = paths.STAMPS / "mounted.json"
# Bots are reloaded by the proxy itself; Caddy's file and prompt formats are read once.
_COMPOSE = paths.ROOT / "compose"
_READ_ONCE = {
    "caddy": _COMPOSE / "caddy",
    "proxy": _COMPOSE / "formats",
    "prometheus": _COMPOSE / "prometheus",
    "grafana": _COMPOSE / "grafana",
}


def apply(compose: Compose) -> list[str]:
    """Restart the services whose mounted files changed since the last run; returns their names."""
    now = {service: digest_of(folder) for service, folder in _READ_ONCE.items()}
    try:
        before: dict[str, str] = json.loads(_STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    there = {container.service for container in compose.containers()}
    changed = [name for name, digest in now.items() if name in there and before.get(name, digest) != digest]
    if changed:
        log.info(f"restarting {', '.join(changed)}: the mounted configuration changed")
        shell.logged(
            compose.command("restart", *changed),
            what=f"restarting {', '.join(changed)}",
            failure_id="service.restart_failed",
            env=compose.environment(),
        )
    if now != before:
        _STAMP.parent.mkdir(parents=True, exist_ok=True)
        _STAMP.write_text(json.dumps(now), encoding="utf-8")
    return changed
