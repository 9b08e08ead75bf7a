"""Checks of what GPU=1 needs: a card, its driver, the way into a container, and room for the model.

An error here stops `make up`; with ACCEPT=its.id the engine computes on the CPU instead (see `usable`).
"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.lib import gpus, log, sizing
from scripts.lib.findings import ERROR, INFO, WARNING, Finding
from scripts.lib.host import Gpu, Host
from scripts.lib.situation import Situation

_CONFIGURE = "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker"
_TOOLKIT = f"apt-get install -y nvidia-container-toolkit && {_CONFIGURE}"
# Docker reads CDI specifications from this version on.
_CDI_DOCKER = (25, 0)
_WITHOUT = "ENGINE=koboldcpp uses it"


def checks(s: Situation) -> Iterator[Finding]:
    """What stands between the cards and the engine, and what it gets of them."""
    backend = s.settings["KOBOLDCPP_BACKEND"]
    if not s.gpu_wished:
        if s.engine == "koboldcpp" and backend in gpus.BACKENDS:
            fact = f"KOBOLDCPP_BACKEND={backend} without GPU=1: the engine is built for the CPU"
            hint = "`make up GPU=1` uses the card; KOBOLDCPP_BACKEND=cpu says that the CPU is meant"
            yield Finding("gpu.not_asked", WARNING, fact, hint)
        return
    if s.engine != "koboldcpp":
        what = (
            "llama.cpp's server from the wheel is a CPU build" if s.engine == "llamacpp" else "the engine is elsewhere"
        )
        hint = _WITHOUT if s.engine == "external" else f"{_WITHOUT}; with SOURCES=packages it needs KOBOLDCPP_SOURCE"
        yield Finding("gpu.backend_without", WARNING, f"{what}: GPU=1 has no effect on it", hint)
        return
    found = list(_trouble(s))
    yield from found
    if not found:
        yield from _plan(s)


def usable(s: Situation) -> bool:
    """Whether the engine will compute on a card: GPU=1, and nothing that stands in the way."""
    return s.gpu_wished and s.engine == "koboldcpp" and not list(_trouble(s))


def _trouble(s: Situation) -> Iterator[Finding]:
    for finding in _reasons(s):
        hint = f"{finding.hint}; or `make up GPU=1 ACCEPT={finding.id}` goes on with the CPU"
        yield Finding(finding.id, finding.level, finding.fact, hint)


def _reasons(s: Situation) -> Iterator[Finding]:
    host = s.host
    if not host.gpus:
        fact = "GPU=1 was given, and this machine shows no card of NVIDIA, AMD or Intel"
        yield Finding("gpu.missing", ERROR, fact, "leave GPU=1 out, or pass a card through to this virtual machine")
        return
    cards = gpus.candidates(host)
    without = [card for card in cards if not (card.driver or card.node)]
    if without:
        yield _no_driver(host, without[0])
        return
    if cards[0].vendor == "nvidia":
        yield from _way_in(host)
    chosen = gpus.named(s.settings, host)
    if s.settings["GPU_DEVICES"] != "all" and len(chosen) != len(set(s.settings["GPU_DEVICES"].split(","))):
        there = ", ".join(f"{card.index}: {card.name}" for card in cards)
        fact = f"GPU_DEVICES={s.settings['GPU_DEVICES']} names a card that is not there ({there})"
        yield Finding("gpu.device_missing", ERROR, fact, "correct GPU_DEVICES in .env, or set it to all")
        return
    yield from _too_old(s, chosen)
    shares = s.settings["TENSOR_SPLIT"]
    if shares != "auto" and len(shares.split(",")) != len(chosen):
        fact = f"TENSOR_SPLIT={shares} does not name a share for each of the {len(chosen)} cards in use"
        yield Finding("gpu.split_mismatch", ERROR, fact, "give one number for each card, or set it to auto")
    if _planned(s) == 0 and s.settings["GPU_LAYERS"] == "auto":
        free = log.size(sum(card.free for card in chosen))
        fact = f"not one layer of {s.model.name if s.model else 'the model'} fits into the {free} that are free"
        hint = "choose a smaller MODEL or CONTEXT_SIZE, or end what else uses the card (`nvidia-smi` shows it)"
        yield Finding("gpu.too_small", ERROR, fact, hint)


def _no_driver(host: Host, card: Gpu) -> Finding:
    if "mismatch" in host.nvidia_trouble:
        fact = f"the kernel still has another NVIDIA driver than the programs: {host.nvidia_trouble}"
        return Finding("gpu.no_driver", ERROR, fact, "reboot")
    said = f"; nvidia-smi says: {host.nvidia_trouble}" if host.nvidia_trouble else ""
    if card.vendor != "nvidia":
        fact = f"there is a card of {card.vendor.upper()}, and the kernel has no driver for it (no /dev/dri/renderD*)"
        firmware = "firmware-amd-graphics" if card.vendor == "amd" else "firmware-misc-nonfree"
        what = "linux-firmware" if host.os_id == "ubuntu" else firmware
        return Finding("gpu.no_driver", ERROR, fact, f"`apt-get install -y {what}`, then reboot")
    fact = f"there is a card of NVIDIA, and its driver does not answer{said}"
    if host.os_id == "ubuntu":
        hint = "`apt-get install -y ubuntu-drivers-common && ubuntu-drivers install`, then reboot"
    else:
        hint = (
            "`apt-get install -y linux-headers-amd64 nvidia-driver` (with contrib, non-free and non-free-firmware "
            "among the components of the distribution's archive), then reboot"
        )
    return Finding("gpu.no_driver", ERROR, fact, hint)


def _way_in(host: Host) -> Iterator[Finding]:
    if not host.nvidia_toolkit:
        fact = "the card's driver is there, NVIDIA's container toolkit is not"
        hint = f"`{_TOOLKIT}` (NVIDIA's own package repository has it; their installation guide says how to add that)"
        yield Finding("gpu.no_toolkit", ERROR, fact, hint)
    # Before there is a Docker nothing can be said; one that is installed after the toolkit finds its hook by itself.
    elif host.docker_answers and not host.nvidia_runtime:
        fact = "NVIDIA's container toolkit is installed, and Docker does not know its runtime"
        if host.cdi and host.engine_version < _CDI_DOCKER:
            version = ".".join(map(str, host.engine_version))
            fact += f" (Docker {version} is older than CDI: it does not read the specification in /etc/cdi)"
        yield Finding("gpu.no_runtime", ERROR, fact, f"`{_CONFIGURE}`")


def _too_old(s: Situation, chosen: tuple[Gpu, ...]) -> Iterator[Finding]:
    if chosen[0].vendor != "nvidia":
        if s.settings["KOBOLDCPP_BACKEND"] == "cuda":
            fact = f"KOBOLDCPP_BACKEND=cuda is for NVIDIA's cards, and this one is {chosen[0].name}"
            yield Finding("gpu.backend_unfit", ERROR, fact, "set KOBOLDCPP_BACKEND=vulkan in .env")
        return
    for card in chosen:
        if card.compute and card.compute < gpus.LEAST_COMPUTE:
            has, least = (".".join(map(str, version)) for version in (card.compute, gpus.LEAST_COMPUTE))
            fact = f"{card.name} has the compute capability {has}, the engine's build wants {least}"
            hint = "leave it out of GPU_DEVICES, or GPU=1 out"
            yield Finding("gpu.too_old", ERROR, fact, hint)
    if s.settings["KOBOLDCPP_BACKEND"] == "cuda" and chosen[0].driver < gpus.CUDA_DRIVER:
        has, least = (".".join(map(str, version)) for version in (chosen[0].driver, gpus.CUDA_DRIVER))
        fact = f"the driver {has} is older than the {least} that CUDA 12.8's code wants"
        hint = "upgrade the driver, or set KOBOLDCPP_BACKEND=vulkan, which works with this one"
        yield Finding("gpu.driver_too_old", ERROR, fact, hint)


def _planned(s: Situation) -> int:
    """Layers on the cards; -1 where that is not known (yet)."""
    if s.model is None or s.choice is None:
        return gpus.ITS_CHOICE
    return gpus.use(s.settings, s.host, s.choice, s.model).layers


def _plan(s: Situation) -> Iterator[Finding]:
    """Nothing stands in the way: say what will be done."""
    chosen = gpus.named(s.settings, s.host)
    name, why = gpus.backend(s.settings, chosen, packages=s.packages)
    if why:
        fact = f"GPU=1 with KOBOLDCPP_BACKEND={s.settings['KOBOLDCPP_BACKEND']} builds for {name}: {why}"
        yield Finding("gpu.backend_chosen", INFO, fact, f"set KOBOLDCPP_BACKEND={name} in .env to keep it")
    if s.model is None or s.choice is None:
        return
    plan = gpus.use(s.settings, s.host, s.choice, s.model)
    free = log.size(sum(card.free for card in plan.cards))
    where = f"{plan.names}, {free} free"
    if s.model.shape is None or not all(card.memory for card in plan.cards):
        fact = f"how many layers fit cannot be computed for {s.model.file} on {where}: koboldcpp chooses them itself"
        yield Finding("gpu.layers_unknown", INFO, fact, "set GPU_LAYERS in .env to choose them")
        return
    every, fits = (
        gpus.all_layers(s.model.shape),
        gpus.fitting_layers(s.settings, plan.cards, s.model, s.model.shape, plan.slots),
    )
    fact = f"{min(plan.layers, every)} of {every} layers on {where}, {plan.slots} answers at a time"
    if plan.layers > fits and fits < every:
        hint = f"set GPU_LAYERS=auto or {fits} in .env, or the engine may not start"
        yield Finding("gpu.layers_too_many", WARNING, f"{fact}; {fits} fit", hint)
    elif plan.layers < every:
        hint = "a smaller MODEL, quantisation or CONTEXT_SIZE puts all of it on the card, which is several times faster"
        yield Finding("gpu.layers_partly", WARNING, f"{fact}; the CPU computes the rest", hint)
        rest = s.model.size * (every - plan.layers) // every + sizing.SERVICES + sizing.SYSTEM
        if rest > s.host.memory_bytes:
            fact = f"the rest of {s.model.name} and the services need about {log.size(rest)} of memory"
            hint = f"this machine has {log.size(s.host.memory_bytes)}: choose a smaller MODEL or quantisation"
            yield Finding("gpu.ram_too_small", WARNING, fact, hint)
    else:
        yield Finding("gpu.layers", INFO, fact)
