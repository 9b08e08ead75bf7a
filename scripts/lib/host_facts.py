"""Collecting the facts of scripts.lib.host from the running machine. Reads only; changes nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

from scripts.lib import (
    docker_daemon,
    docker_install,
    generations,
    gpu_facts,
    network_facts,
    paths,
    pip_settings,
    secret_files,
    shapes,
    shell,
    sources,
    stage,
    upgrade_steps,
)
from scripts.lib.host import Host, with_overrides
from scripts.lib.setting_checks import is_public_name
from scripts.lib.settings import Settings, valid

_DNS_TIMEOUT_S = 5.0
_DOCKER_TIMEOUT_S = 15.0
# The proxy's own prompt formats, and the operator's.
_FORMATS = (paths.ROOT / "proxy" / "chatproxy" / "formats", paths.ROOT / "compose" / "formats")


def collect(settings: Settings, *, probe: bool = True) -> Host:
    """All facts about this machine; `probe` also asks the network (sources and DOMAIN), which may take seconds."""
    release = os_release()
    daemon = docker_daemon.info()
    docker_root = str(daemon.get("DockerRootDir")) if daemon else _configured_docker_root()
    own_ports, containers = _published(settings.project) if daemon else (frozenset(), {})
    flags, cores = cpu()
    memory, swap = memory_sizes()
    gpus, nvidia_trouble = gpu_facts.collect(settings.project if daemon else "")
    with ThreadPoolExecutor(max_workers=2) as pool:
        reachable = pool.submit(sources.probe, settings) if probe else None
        domain = pool.submit(_resolve, settings["DOMAIN"]) if probe and valid(settings, "DOMAIN") else None
        host = Host(
            os_id=release.get("ID", ""),
            os_version=release.get("VERSION_ID", ""),
            os_name=release.get("PRETTY_NAME", platform.system()),
            arch=platform.machine(),
            root=shell.is_root(),
            sudo=not shell.is_root() and shell.sudo_works(),
            toml=bool(importlib.util.find_spec("tomllib") or importlib.util.find_spec("tomli")),
            cpu_flags=flags,
            cpus=len(os.sched_getaffinity(0)),
            cores=min(cores, len(os.sched_getaffinity(0))),
            memory_bytes=memory,
            swap_bytes=swap,
            docker_root=docker_root,
            disk_free_bytes=free_below(Path(docker_root)),
            models_free_bytes=free_below(paths.MODELS),
            # A container is a better name for the holder than Docker's own forwarding process.
            ports={port: containers.get(port, holder) for port, holder in network_facts.listening().items()},
            own_ports=own_ports,
            udp_ports={port: containers.get(port, holder) for port, holder in network_facts.bound().items()},
            docker_cli=shell.which("docker") is not None,
            # A daemon that answers without a dockerd here is somebody else's (a mounted socket, a remote DOCKER_HOST).
            docker_engine=shell.which("dockerd") is not None or daemon is not None,
            docker_answers=daemon is not None,
            engine_version=docker_install.version_of(str(daemon["ServerVersion"])) if daemon else (),
            compose_version=docker_install.plugin_version("compose"),
            buildx_version=docker_install.plugin_version("buildx"),
            gpus=gpus,
            nvidia_trouble=nvidia_trouble,
            render_group=gpu_facts.render_group(gpus),
            nvidia_toolkit=shell.which("nvidia-ctk") is not None,
            nvidia_runtime=bool(daemon and "nvidia" in (daemon.get("Runtimes") or {})),
            cdi=gpu_facts.has_cdi(),
            addresses=network_facts.addresses(),
            outward=network_facts.outward(),
            routes=network_facts.routes(),
            tun=Path("/dev/net/tun").exists(),
            ipv6=Path("/proc/sys/net/ipv6").is_dir(),
            wireguard=secret_files.there(paths.WIREGUARD / "server.json"),
            model_files={p.name: p.stat().st_size for p in sorted(paths.MODELS.glob("[!.]*")) if p.is_file()},
            model_heads=heads(paths.MODELS),
            model_links=links(paths.MODELS),
            model_shapes=shapes.meant(settings["MODEL"]),
            bots=frozenset(p.stem for p in (paths.ROOT / "compose" / "bots").glob("*.yaml")),
            formats=frozenset(p.stem for folder in _FORMATS for p in folder.glob("[!_.]*.toml")),
            koboldcpp_source=stage.kind_of(settings["KOBOLDCPP_SOURCE"]),
            mail_password=secret_files.kind_of(settings["SMTP_PASSWORD_FILE"]),
            engine_key=secret_files.kind_of(settings["ENGINE_API_KEY_FILE"]),
            torch_wheel=bool(pip_settings.torch_wheels()),
            built=(paths.STAMPS / "images.json").is_file(),
            secrets=secret_files.all_there(),
            elsewhere=_elsewhere(settings.project) if daemon else (),
            generation=generations.current(),
            locked_out=daemon is not None and _locked_out(settings.project),
            stored=_stored(settings.project) if daemon else (),
            reachable=reachable.result() if reachable else {},
            domain_addresses=domain.result() if domain else None,
        )
    return with_overrides(host)


def os_release(path: Path = Path("/etc/os-release")) -> Mapping[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {name: value.strip("\"'") for name, value in pairs}


def cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[frozenset[str], int]:
    """(CPU flags, physical cores). Virtual machines often hide which CPUs share a core; then each counts as one."""
    flags: frozenset[str] = frozenset()
    cores, processors, package = set(), 0, ""
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == "processor":
            processors += 1
        elif name in ("flags", "Features") and not flags:
            flags = frozenset(value.split())
        elif name == "physical id":
            package = value
        elif name == "core id":
            cores.add((package, value))
    return flags, len(cores) or processors or 1


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the processor calls itself."""
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def memory_sizes(meminfo: Path = Path("/proc/meminfo")) -> tuple[int, int]:
    """(RAM, swap) in bytes."""
    values = _meminfo(meminfo)
    return values.get("MemTotal", 0), values.get("SwapTotal", 0)


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that programs may still take, by the kernel's own estimate."""
    return _meminfo(meminfo).get("MemAvailable", 0)


def _meminfo(path: Path) -> dict[str, int]:
    values = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024 if rest.split() else 0
    return values


def free_below(folder: Path) -> int:
    """Bytes that may still be written where `folder` lies or will lie."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def published(project: str, listed: str) -> tuple[frozenset[str], dict[str, str]]:
    """(ports of the host that our own containers publish, {port: container} of all others').

    `listed` is `docker ps` as project, name and ports, separated by tabs.
    """
    own: set[str] = set()
    others: dict[str, str] = {}
    for line in listed.splitlines():
        owner, name, ports = [*line.split("\t"), "", ""][:3]
        for port in (part.split("->")[0].rpartition(":")[2] for part in ports.split(", ") if "->" in part):
            if owner == project:
                own.add(port)
            else:
                others[port] = f"the container {name}"
    return frozenset(own), others


def _published(project: str) -> tuple[frozenset[str], dict[str, str]]:
    columns = '{{.Label "com.docker.compose.project"}}\t{{.Names}}\t{{.Ports}}'
    status, out, _ = docker_daemon.ask("ps", "--format", columns, timeout=_DOCKER_TIMEOUT_S)
    return published(project, out if status == 0 else "")


def other_folders(listed: Iterable[str], root: Path = paths.ROOT) -> tuple[str, ...]:
    """Those of `listed` that are not this checkout. One that is gone does not count: a checkout may be moved."""
    here = root.stat()
    others = set()
    for folder in filter(None, listed):
        try:
            there = Path(folder).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            others.add(folder)
            continue
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            others.add(folder)
    return tuple(sorted(others))


def _elsewhere(project: str) -> tuple[str, ...]:
    ours = f"label=com.docker.compose.project={project}"
    column = '{{.Label "com.docker.compose.project.working_dir"}}'
    status, out, _ = docker_daemon.ask("ps", "--all", "--filter", ours, "--format", column, timeout=_DOCKER_TIMEOUT_S)
    # A new version that is made ready beside the one that runs is the same appliance.
    listed = [folder for folder in out.splitlines() if folder != upgrade_steps.owner()]
    return other_folders(listed) if status == 0 else ()


def _locked_out(project: str) -> bool:
    try:
        (paths.SECRETS / "mongo_root_password").stat()
    except FileNotFoundError:
        status, out, _ = docker_daemon.ask("volume", "ls", "--format", "{{.Name}}", timeout=_DOCKER_TIMEOUT_S)
        return status == 0 and generations.numbers(project, out) != []
    except OSError:
        # Closed to this user, so it is there.
        pass
    return False


def _stored(project: str) -> tuple[int, ...]:
    status, out, _ = docker_daemon.ask("volume", "ls", "--format", "{{.Name}}", timeout=_DOCKER_TIMEOUT_S)
    return tuple(generations.with_data(project, out)) if status == 0 else ()


def heads(folder: Path) -> dict[str, str]:
    """{file: its first four bytes}, which tell what a file of weights really is."""
    found = {}
    for path in sorted(folder.glob("[!.]*")):
        try:
            if path.is_file():
                with path.open("rb") as file:
                    found[path.name] = file.read(4).decode("latin-1")
        except OSError:
            continue
    return found


def links(folder: Path) -> dict[str, str]:
    """{file: where it leads} of links that do not lead to another file of `folder` by a relative path.

    Containers have this folder alone, under another name.
    """
    found = {}
    for path in sorted(folder.glob("[!.]*")):
        if path.is_symlink() and path.is_file():
            leads = Path(os.path.realpath(path))
            if path.readlink().is_absolute() or not leads.is_relative_to(os.path.realpath(folder)):
                found[path.name] = str(leads)
    return found


def _configured_docker_root() -> str:
    # Docker is not running yet; daemon.json is the only place where another folder could have been named.
    try:
        return str(json.loads(Path("/etc/docker/daemon.json").read_text(encoding="utf-8"))["data-root"])
    except (OSError, ValueError, KeyError):
        return "/var/lib/docker"


def _resolve(name: str) -> tuple[str, ...] | None:
    if not is_public_name(name):
        return None
    # getaddrinfo knows no time-out of its own; a resolver that never answers must not hold up the other checks.
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        asked = pool.submit(socket.getaddrinfo, name, None, type=socket.SOCK_STREAM)
        return tuple(sorted({str(entry[4][0]) for entry in asked.result(timeout=_DNS_TIMEOUT_S)}))
    except (OSError, ValueError, FutureTimeout):
        return ()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
