"""``python3 -m entrypoint [--print]``: check everything, then become koboldcpp."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

from . import model as models
from .build import Build
from .flags import Policy
from .launch import plan, read_request
from .plan import Plan
from .refusal import RefusedError
from .settings import Settings

HOME = Path("/opt/koboldcpp")
#: The health check finds the engine by it.
PID_FILE = Path("/tmp/koboldcpp.pid")  # noqa: S108  # the container's own

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def main() -> None:
    parser = argparse.ArgumentParser(prog="entrypoint", description="Start koboldcpp from the environment.")
    parser.add_argument("--print", action="store_true", help="show the command line and start nothing")
    only_print: bool = parser.parse_args().print
    try:
        result = _plan()
    except RefusedError as refusal:
        _say(str(refusal))
        sys.exit(refusal.exit_code)
    for warning in result.warnings:
        _say(f"warning: {warning}")
    command = [sys.executable, str(HOME / "koboldcpp.py"), *result.words]
    if only_print:
        print(shlex.join([*(f"{name}={value}" for name, value in result.environment.items()), *command]))
    else:
        os.environ.update(result.environment)
        _become(command)


def _become(command: list[str]) -> NoReturn:
    """Run koboldcpp in this process's place, so that signals reach it without a go-between."""
    _say(f"starting {shlex.join(command)}")
    _leave_pid()
    os.chdir(HOME)  # koboldcpp looks for its libraries and pages beside itself
    os.execv(command[0], command)  # noqa: S606  # our own words, no shell


def _plan() -> Plan:
    build = Build.load(HOME / "build.json")
    asked = os.environ.get("KOBOLDCPP_BACKEND", build.backend)
    settings = models.located(Settings.read(os.environ))
    request = read_request(settings, build, Policy.load())
    if asked != build.backend:
        request.warnings.append(f"KOBOLDCPP_BACKEND={asked}, but this image was built for {build.backend}: rebuild it")
    model = models.check(models.find(settings.model or request.model or ""))
    return plan(settings, build, request, model, _memory())


def _memory() -> int:
    """Bytes that this container may use: its cgroup's limit, or the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in map(Path, _CGROUP_LIMITS):
        if path.is_file():
            limit = path.read_text().strip()
            return min(machine, int(limit)) if limit.isdigit() else machine
    return machine


def _leave_pid() -> None:
    try:
        PID_FILE.write_text(str(os.getpid()))
    except OSError as error:
        _say(f"warning: {PID_FILE} cannot be written ({error.strerror}): a hung engine will not be restarted")


def _say(text: str) -> None:
    print(f"koboldcpp: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
