"""Prometheus for the tests of figures and alerts: the distribution's own, as its image has it.

The package is unpacked and not installed: its installation would start a server on this machine and leave it running.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from scripts.lib import apt, log, paths, shell
from scripts.lib.failure import Failure

_PACKAGE = "prometheus"
_UNPACKED = paths.STATE / "prometheus"


def find(folder: Path = _UNPACKED) -> Path | None:
    """The folder of `prometheus` and `promtool`, where they are."""
    installed = shell.which("promtool")
    if installed:
        return Path(installed).parent
    unpacked = folder / "usr" / "bin"
    return unpacked if (unpacked / "promtool").exists() else None


def ensure(folder: Path = _UNPACKED) -> Path:
    """The same; fetched where they are missing. Failure `prometheus.missing` where that cannot be done."""
    found = find(folder)
    if found:
        return found
    log.step(f"fetching {_PACKAGE} for the tests of alerts and the dashboard")
    if not apt.available(_PACKAGE):
        apt.update()
    with tempfile.TemporaryDirectory() as name:
        _run(["apt-get", "download", "-q", _PACKAGE], Path(name))
        for archive in Path(name).glob("*.deb"):
            _run(["dpkg", "-x", str(archive), str(folder)], Path(name))
    found = find(folder)
    if not found:
        raise Failure("prometheus.missing", f"the package {_PACKAGE} holds no promtool", "install Prometheus")
    return found


def _run(command: list[str], folder: Path) -> None:
    hint = f"install the package {_PACKAGE}"
    shell.logged(command, what=" ".join(command[:2]), failure_id="prometheus.missing", hint=hint, cwd=folder)
