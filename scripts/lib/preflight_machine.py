"""Checks of the machine itself: system, rights, CPU, memory, disk."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.lib import engine_values, log, sizing
from scripts.lib.findings import ERROR, WARNING, Finding
from scripts.lib.host import GB, Host
from scripts.lib.models import Model, WheelSource
from scripts.lib.situation import Situation

SUPPORTED = {("debian", "12"), ("debian", "13"), ("ubuntu", "22.04"), ("ubuntu", "24.04")}
_SUPPORTED_NAMES = "Debian 12 or 13, or Ubuntu 22.04 or 24.04"

# Images and their build layers, measured: packages about 5 GB, upstream with koboldcpp's compiler about 8 GB.
FIRST_BUILD = 8 * GB
# An appliance that is built needs room for conversations, logs and one image rebuilt.
RUNNING = 1 * GB


def docker_complete(host: Host) -> bool:
    return bool(host.docker_cli and host.docker_answers and host.compose_version and host.buildx_version)


def system(s: Situation) -> Iterator[Finding]:
    host = s.host
    if (host.os_id, host.os_version) not in SUPPORTED:
        level = WARNING if docker_complete(host) and not s.packages else ERROR
        fact = f"{host.os_name or 'this system'} is not among the systems this was tried on"
        yield Finding(
            "os.unsupported", level, fact, f"use {_SUPPORTED_NAMES}, or install Docker, Compose and buildx yourself"
        )
    if host.arch not in ("x86_64", "amd64"):
        level = ERROR if s.packages else WARNING
        fact = f"this is a {host.arch} machine; images and pins are made for x86-64"
        yield Finding("arch.unsupported", level, fact, "use an x86-64 machine")


def privileges(s: Situation) -> Iterator[Finding]:
    host = s.host
    if host.root or host.sudo:
        return
    to_do = []
    if not docker_complete(host):
        to_do.append("install and start Docker")
    if not host.secrets:
        to_do.append("hand secrets over to the containers' user")
    if to_do:
        fact = f"root rights are needed to {' and to '.join(to_do)}, and sudo does not give them without a password"
        yield Finding("privilege.missing", ERROR, fact, "run `sudo make up`, or `sudo -v` first")


def cpu(s: Situation) -> Iterator[Finding]:
    if s.host.arch not in ("x86_64", "amd64"):
        return
    if "avx" not in s.host.cpu_flags:
        yield Finding(
            "cpu.no_avx",
            ERROR,
            "the CPU (or the type the hypervisor shows, as KVM64) has no AVX, and MongoDB does not start without it",
            "set the virtual machine's CPU type to `host` (cpu mode host-passthrough), or rent another type",
        )
    elif "avx2" not in s.host.cpu_flags:
        fact = "the CPU has no AVX2: the engine falls back to its slow mode"
        yield Finding("cpu.no_avx2", WARNING, fact, "a CPU from 2014 or later answers several times faster")


def memory(s: Situation) -> Iterator[Finding]:
    have = s.host.memory_bytes
    monitoring = sizing.MONITORING if s.settings.monitored else 0
    need = sizing.SERVICES + sizing.SYSTEM + monitoring
    what = "the services"
    if s.model is not None and s.engine != "external" and not s.gpu:
        context = s.settings.number("CONTEXT_SIZE")
        chosen = s.settings["ENGINE_SLOTS"]
        left = have - monitoring
        auto = engine_values.batch(s.engine, gpu=False, vision=s.model.projector is not None)
        batch = auto if s.settings["ENGINE_BATCH"] == "auto" else s.settings.number("ENGINE_BATCH")
        slots = int(chosen) if chosen != "auto" else sizing.slots(s.engine, False, s.model, context, batch, left)
        need += sizing.engine_need(s.model, context, slots, batch, s.engine).total
        what = f"the services and {s.model.name} with CONTEXT_SIZE={context}"
    if have >= need:
        return
    fact = f"{what} need about {log.size(need)} of memory, this machine has {log.size(have)}"
    hint = "choose a smaller MODEL or CONTEXT_SIZE in .env, or a machine with more memory"
    # Swap carries what is idle, not a model that is read for every token.
    level = WARNING if have + min(s.host.swap_bytes, have // 4) >= need else ERROR
    yield Finding("ram.too_small_for_model" if s.model else "ram.too_small", level, fact, hint)


def disk(s: Situation) -> Iterator[Finding]:
    host = s.host
    need = RUNNING if host.built else FIRST_BUILD
    hint = "free some space (`docker system df` shows what Docker holds), enlarge the disk, or move Docker's data-root"
    if host.disk_free_bytes < need:
        fact = f"{log.size(host.disk_free_bytes)} are free in {host.docker_root}, about {log.size(need)} are needed"
        yield Finding("disk.too_small", ERROR, fact, hint)
    elif host.disk_free_bytes < need * 3 // 2:
        free = log.size(host.disk_free_bytes)
        fact = f"{free} are free in {host.docker_root}, hardly more than the {log.size(need)} needed"
        yield Finding("disk.nearly_too_small", WARNING, fact, hint)
    model = s.model
    if model is not None and model.source is not None and not _is_here(model, host):
        # While it is unpacked, a package and the weights lie side by side.
        wanted = model.size * (2 if isinstance(model.source, WheelSource) else 1)
        wanted += (model.projector.size if model.projector else 0) + sum(each.size for each in model.adapters)
        if host.models_free_bytes < wanted:
            free = log.size(host.models_free_bytes)
            fact = f"{free} are free in models/, fetching {model.name} takes {log.size(wanted)}"
            yield Finding("disk.too_small_for_model", ERROR, fact, hint)


def _is_here(model: Model, host: Host) -> bool:
    """By its size: whether it is the right one is seen when it is fetched."""
    have = host.model_files.get(model.file)
    return have is not None and (have == model.size or model.size_is_about)
