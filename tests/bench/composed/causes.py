"""What happens to services: each a context manager that begins the fault and ends it. They need root.

Nothing here is Docker's own way to stop a container: that it would take for the operator's wish.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.bench.composed import stack
from tests.stack.conftest import Appliance, docker

# How long a fault lasts that does not end by itself.
HOLD_S = 8.0
# mongod looks once a minute for what has expired.
_TTL_S = 70.0
_LEFT_WHEN_LOW = 200 * stack.MIB
_DISKS = {"mongo": "mongo_data", "chroma": "chroma_data", "worker": "words_data", "caddy": "caddy_data"}
_YEAR_S = 400 * 86_400
Fault = Callable[[Appliance, str], Any]


def _pid(running: Appliance, service: str) -> int:
    return int(running.containers()[service]["State"]["Pid"])


@contextmanager
def kill(running: Appliance, service: str) -> Iterator[None]:
    """SIGKILL to the container's first process; Docker starts it again."""
    os.kill(_pid(running, service), signal.SIGKILL)
    yield


@contextmanager
def pause(running: Appliance, service: str) -> Iterator[None]:
    """All processes frozen; connections to them are taken by the kernel and never answered."""
    identity = running.containers()[service]["Id"]
    docker("pause", identity)
    try:
        time.sleep(HOLD_S)
        yield
    finally:
        docker("unpause", identity)


@contextmanager
def cut(running: Appliance, service: str) -> Iterator[None]:
    """Every packet to and from it is dropped, without a word to anybody."""
    inside = ["nsenter", f"--net=/proc/{_pid(running, service)}/ns/net", "iptables"]
    rules = (["INPUT", "!", "-i", "lo", "-j", "DROP"], ["OUTPUT", "!", "-o", "lo", "-j", "DROP"])
    for rule in rules:
        subprocess.run([*inside, "-I", *rule], check=True)
    try:
        time.sleep(HOLD_S)
        yield
    finally:
        for rule in rules:
            # Gone with its namespace where the container was started anew.
            subprocess.run([*inside, "-D", *rule], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def full(running: Appliance, service: str) -> Iterator[None]:
    """Not a byte left on the disk of its volume."""
    with _filled(stack.disk_of(running, _DISKS[service]), 0):
        time.sleep(HOLD_S)
        yield


@contextmanager
def low(running: Appliance, service: str) -> Iterator[None]:
    """So little left that new work is to be refused before the database can no longer write."""
    with _filled(stack.disk_of(running, _DISKS[service]), _LEFT_WHEN_LOW):
        time.sleep(HOLD_S)
        yield


@contextmanager
def _filled(disk: Path, left: int) -> Iterator[None]:
    """Blocks are given to a file that nothing is written to, so that the disk is full and not busy."""
    filler = disk / "filler"
    try:
        with filler.open("wb") as file:
            size, step = 0, stack.MIB
            while step >= 4096:
                if left and os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - step < left:
                    break
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                    size += step
                except OSError:  # ENOSPC: what is left is less than that
                    step //= 2
        yield
    finally:
        filler.unlink(missing_ok=True)


_NEAR = 48 * stack.MIB
# Into the container's own group: what it takes is charged to the service.
_EATER = """
import os, sys, time
group, pid = sys.argv[1], int(sys.argv[2])
with open(group, 'w') as file:
    file.write(str(os.getpid()))
eaten, begun = [], time.monotonic()
while os.path.exists(f'/proc/{pid}') and time.monotonic() - begun < 20:
    eaten.append(bytearray(os.urandom(1 << 20) * 8))
    time.sleep(0.005)
"""


@contextmanager
def memory(running: Appliance, service: str) -> Iterator[None]:
    """Its memory limit is hit, and the kernel ends its largest process.

    The limit is brought near to what is in use first, so that the machine does not have to be filled with it.
    """
    container = running.containers()[service]
    host, group = container["HostConfig"], _group(container["Id"]).parent
    used = next(file for name in ("memory.usage_in_bytes", "memory.current") if (file := group / name).exists())
    near = min(host["Memory"], int(used.read_text()) + _NEAR)
    _limit(container["Id"], near, near)
    victim = _largest(container["Id"])
    # Before the one that eats: nobody needs a privilege to be ended first.
    Path(f"/proc/{victim}/oom_score_adj").write_text("1000")
    eater = subprocess.Popen([sys.executable, "-c", _EATER, str(_group(container["Id"])), str(victim)])
    try:
        eater.wait(30)
        # The one that eats may be ended right after it, while what it held is still being given back.
        gone_by = time.monotonic() + 5
        while Path(f"/proc/{victim}").exists():
            if time.monotonic() > gone_by:
                raise RuntimeError(f"the kernel has not ended process {victim} of {service}")
            time.sleep(0.05)
        _limit(container["Id"], host["Memory"], host["MemorySwap"])
        yield
    finally:
        with suppress(ProcessLookupError):
            eater.kill()
        eater.wait()


def _limit(identity: str, memory: int, with_swap: int) -> None:
    """Bytes. Docker refuses while it starts the container anew."""
    for wait in (0.2, 0.5, 1.0, 2.0, 4.0):
        with suppress(subprocess.CalledProcessError):
            docker("update", "--memory", str(memory), "--memory-swap", str(with_swap), identity)
            return
        time.sleep(wait)
    docker("update", "--memory", str(memory), "--memory-swap", str(with_swap), identity)


def _group(identity: str) -> Path:
    """Where a process is put into a container's memory group: version 1 or 2 of the kernel's interface."""
    places = (f"memory/docker/{identity}", f"docker/{identity}", f"system.slice/docker-{identity}.scope")
    found = [Path("/sys/fs/cgroup") / place / "cgroup.procs" for place in places]
    return next(path for path in found if path.exists())


def _largest(identity: str) -> int:
    """The process that the kernel will end: the one that has most."""

    def resident(pid: int) -> int:
        with suppress(OSError):
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return 0

    return max((int(pid) for pid in _group(identity).read_text().split()), key=resident)


@contextmanager
def clock(running: Appliance, service: str) -> Iterator[None]:
    """Its programs' clock jumps more than a year ahead, and back."""
    stack.put_clock(running.folder, service, _YEAR_S)
    try:
        time.sleep(_TTL_S if service == "mongo" else HOLD_S)
        yield
    finally:
        stack.put_clock(running.folder, service, 0)


@contextmanager
def hang(running: Appliance, service: str) -> Iterator[None]:
    """Its programs stop in the middle of what they do while Docker takes the container for running."""
    pids = [int(pid) for pid in _group(running.containers()[service]["Id"]).read_text().split()]
    with ExitStack() as held:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            held.callback(_go_on, pid)
        time.sleep(HOLD_S)
        yield


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


FAULTS: Mapping[str, Fault] = {
    "kill": kill, "pause": pause, "cut": cut, "low": low, "full": full, "memory": memory, "clock": clock, "hang": hang,
}  # fmt: skip
SERVICES = ("proxy", "mongo", "chroma", "embeddings", "engine", "caddy", "worker")


def impossible(cause: str, service: str) -> str:
    """Why there is no such fault; "" where there is."""
    if cause == "low" and service != "mongo":
        return "only conversations need room kept free"
    if cause == "full" and service not in _DISKS:
        return "writes to no disk" if service != "proxy" else "reads the worker's alone"
    if cause == "clock" and service not in stack.CLOCKED:
        return "a static binary asks the kernel, whose clock is the machine's"
    if cause == "hang" and service != "engine":
        return "as pause"
    return ""
