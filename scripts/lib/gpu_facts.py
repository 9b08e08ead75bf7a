"""The graphics cards of this machine, as the drivers and the kernel tell them. Reads only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from scripts.lib import docker_daemon, shell
from scripts.lib.host import Gpu

_MIB = 2**20
_SMI_TIMEOUT_S = 20.0
# PCI's numbers of those whose cards an engine can use; what a hypervisor draws its console with is none.
_VENDORS = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
# PCI's class of everything that shows pictures: VGA and 3D controllers.
_DISPLAY = "0x03"
# compute_cap last: drivers before 510 do not know it, and refuse the whole question.
_ASKED = ("index", "uuid", "name", "memory.total", "memory.free", "driver_version", "compute_cap")
# Where the CDI specifications of a host lie (Container Device Interface).
_CDI_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))


def collect(project: str) -> tuple[tuple[Gpu, ...], str]:
    """(the cards, what nvidia-smi said where it failed). `project` is ours, "" where no Docker answers."""
    pids = _engine_pids(project) if project else frozenset()
    cards, trouble = _asked_nvidia(pids)
    cards = (*cards, *rendering(own_pids=pids))
    seen = {card.vendor for card in cards}
    idle = [vendor for vendor in on_the_bus() if vendor not in seen]
    return (*cards, *(Gpu(index, vendor) for index, vendor in enumerate(idle))), trouble


def _asked_nvidia(own_pids: frozenset[int]) -> tuple[tuple[Gpu, ...], str]:
    if shell.which("nvidia-smi") is None:
        return (), ""
    for asked in (_ASKED, _ASKED[:-1]):
        status, out, err = _smi(f"--query-gpu={','.join(asked)}")
        if status == 0:
            apps = _smi("--query-compute-apps=gpu_uuid,pid,used_memory")[1]
            if found := nvidia(out, apps, own_pids):
                return found, ""
    return (), (out.strip() or err.strip()).splitlines()[0] if (out + err).strip() else f"exit status {status}"


def _smi(question: str) -> tuple[int, str, str]:
    return shell.capture(["nvidia-smi", question, "--format=csv,noheader,nounits"], timeout=_SMI_TIMEOUT_S)


def nvidia(listed: str, apps: str = "", own_pids: frozenset[int] = frozenset()) -> tuple[Gpu, ...]:
    """Cards from nvidia-smi's CSV (MiB; "[N/A]" where a card does not tell). `apps` are gpu_uuid, pid, used_memory.

    Other lines are passed over: it puts warnings among them ("infoROM is corrupted at gpu ..."), and says in words that
    there is no card.
    """
    held: dict[str, int] = {}
    for line in apps.splitlines():
        uuid, pid, used = [*(part.strip() for part in line.split(",")), "", ""][:3]
        if pid.isdigit() and int(pid) in own_pids:
            held[uuid] = held.get(uuid, 0) + _bytes(used)
    cards = []
    for line in listed.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) < len(_ASKED) - 1 or not parts[0].isdecimal():
            continue
        index, uuid, name, memory, free, driver, compute = [*parts, ""][:7]
        free_bytes = _bytes(free) + held.get(uuid, 0)
        cards.append(Gpu(int(index), "nvidia", name, _bytes(memory), free_bytes, _numbers(driver), _numbers(compute)))
    return tuple(cards)


def _bytes(mebibytes: str) -> int:
    return int(mebibytes) * _MIB if mebibytes.isdecimal() else 0


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+(\.\d+)*", version) else ()


def rendering(
    drm: Path = Path("/sys/class/drm"), proc: Path = Path("/proc"), own_pids: frozenset[int] = frozenset()
) -> tuple[Gpu, ...]:
    """AMD's and Intel's cards that have a render node, in the order of these."""
    cards: list[Gpu] = []
    for node in sorted(drm.glob("renderD*")):
        device = node / "device"
        vendor = _VENDORS.get(_read(device / "vendor"))
        if vendor not in ("amd", "intel"):
            continue
        name = _read(device / "product_name") or f"{vendor.upper()} {_read(device / 'device')}"
        memory, used = _read(device / "mem_info_vram_total"), _read(device / "mem_info_vram_used")
        total = int(memory) if memory.isdigit() else 0
        own = _held(proc, own_pids, device.resolve().name)
        free = max(0, total - max(0, (int(used) if used.isdigit() else 0) - own))
        cards.append(Gpu(len(cards), vendor, name, total, free, node=f"/dev/dri/{node.name}"))
    return tuple(cards)


def _held(proc: Path, pids: Iterable[int], address: str) -> int:
    """Bytes of the card at a PCI address that these processes hold (the kernel's drm-usage-stats)."""
    held: dict[str, int] = {}
    for pid in pids:
        try:
            for file in (proc / str(pid) / "fdinfo").iterdir():
                told = dict(_pairs(file.read_text(encoding="utf-8", errors="replace")))
                if told.get("drm-pdev") == address:
                    amount = told.get("drm-memory-vram", "0").split()[0]
                    # One client may have several descriptors, and each tells all of it.
                    held[told.get("drm-client-id", "")] = int(amount) * 1024 if amount.isdigit() else 0
        except OSError:
            continue  # gone, or not ours to read
    return sum(held.values())


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.strip():
            yield name, value.strip()


def on_the_bus(devices: Path = Path("/sys/bus/pci/devices")) -> tuple[str, ...]:
    """The vendors of all cards that the machine has, with a driver or without."""
    shown = (d for d in sorted(devices.glob("*")) if _read(d / "class").startswith(_DISPLAY))
    return tuple(_VENDORS[vendor] for d in shown if (vendor := _read(d / "vendor")) in _VENDORS)


def render_group(cards: Iterable[Gpu]) -> int:
    """The group whose members may use the render nodes; 0 where there are none."""
    for card in cards:
        try:
            if card.node:
                return Path(card.node).stat().st_gid
        except OSError:
            continue
    return 0


def has_cdi(folders: Iterable[Path] = _CDI_FOLDERS) -> bool:
    return any(any(folder.glob("nvidia*.*")) for folder in folders)


def _engine_pids(project: str) -> frozenset[int]:
    labels = {"project": project, "service": "engine"}
    status, out, _ = docker_daemon.ask("ps", "--quiet", *_filters(labels), timeout=_SMI_TIMEOUT_S)
    found: set[int] = set()
    for container in out.split() if status == 0 else ():
        _, listed, _ = docker_daemon.ask("top", container, "-eo", "pid", timeout=_SMI_TIMEOUT_S)
        found |= {int(word) for word in listed.split() if word.isdigit()}
    return frozenset(found)


def _filters(labels: Mapping[str, str]) -> Iterator[str]:
    for name, value in labels.items():
        yield from ("--filter", f"label=com.docker.compose.{name}={value}")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
