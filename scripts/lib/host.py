"""What is known about this machine, as plain values that the checks read.

Test seam: CHATBOT_HOST_FACTS names a JSON file whose keys replace facts of the same name, so that
`CHATBOT_HOST_FACTS=facts.json make doctor` shows what a machine without AVX or with 1 GB of disk is told.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.lib.failure import Failure
from scripts.lib.reckoning import Shape

GB = 2**30


@dataclass(frozen=True)
class Gpu:
    """A graphics card.

    index: its number as nvidia-smi has it, or among the render nodes; vendor: nvidia, amd or intel; memory and free:
    bytes (0 = unknown), where what our own engine holds counts as free; driver and compute (NVIDIA's compute
    capability): numbers, () = none; node: its render node, "" = none.
    """

    index: int
    vendor: str
    name: str = ""
    memory: int = 0
    free: int = 0
    driver: tuple[int, ...] = ()
    compute: tuple[int, ...] = ()
    node: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Gpu:
        """From JSON, where tuples are lists."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        return cls(**values)


@dataclass(frozen=True)
class Host:
    """Facts, collected by scripts.lib.host_facts. Sizes are bytes; versions are tuples of numbers, () = not there."""

    os_id: str = "debian"
    os_version: str = "12"
    os_name: str = "Debian GNU/Linux 12"
    arch: str = "x86_64"
    root: bool = True
    sudo: bool = False
    toml: bool = True
    cpu_flags: frozenset[str] = frozenset({"avx", "avx2", "fma", "f16c"})
    # Logical CPUs this process may use, and the physical cores behind them.
    cpus: int = 2
    cores: int = 2
    memory_bytes: int = 4 * GB
    swap_bytes: int = 0
    # The folder where Docker keeps (or would keep) images and volumes.
    docker_root: str = "/var/lib/docker"
    disk_free_bytes: int = 40 * GB
    models_free_bytes: int = 40 * GB
    # {port: who listens there, "" where that cannot be seen}; ports that our own containers publish are in own_ports.
    ports: Mapping[str, str] = field(default_factory=dict)
    own_ports: frozenset[str] = frozenset()
    # The same of UDP ports.
    udp_ports: Mapping[str, str] = field(default_factory=dict)
    docker_cli: bool = True
    docker_engine: bool = True
    docker_answers: bool = True
    engine_version: tuple[int, ...] = (20, 10, 24)
    compose_version: tuple[int, ...] = (2, 26, 1)
    buildx_version: tuple[int, ...] = (0, 13, 1)
    gpus: tuple[Gpu, ...] = ()
    # What nvidia-smi said where it failed, and the group that render nodes belong to.
    nvidia_trouble: str = ""
    render_group: int = 0
    # NVIDIA's container toolkit is installed; Docker knows its runtime; a CDI specification lies in /etc/cdi.
    nvidia_toolkit: bool = False
    nvidia_runtime: bool = False
    cdi: bool = False
    addresses: tuple[str, ...] = ()
    # The one of them that faces the internet, and the networks that this machine has a way to.
    outward: str = ""
    routes: tuple[str, ...] = ()
    # /dev/net/tun is there, and the kernel knows IPv6: WireGuard's container needs both.
    tun: bool = True
    ipv6: bool = True
    # WireGuard's keys were made, so its container is part of the appliance.
    wireguard: bool = False
    # What DOMAIN resolves to: None = not asked (localhost, bare address), () = the name is unknown.
    domain_addresses: tuple[str, ...] | None = None
    # {home: True | False}; a home that could not be asked is not in it. See scripts.lib.sources.
    reachable: Mapping[str, bool] = field(default_factory=dict)
    # Files in models/ and their sizes.
    model_files: Mapping[str, int] = field(default_factory=dict)
    # The first four bytes of each of them, as Latin-1 text; a file that could not be read is not in it.
    model_heads: Mapping[str, str] = field(default_factory=dict)
    # Those of them that are links which lead nowhere inside of a container, and where they lead here.
    model_links: Mapping[str, str] = field(default_factory=dict)
    # The shape of the one that MODEL means, as far as it tells; not to be replaced by CHATBOT_HOST_FACTS.
    model_shapes: Mapping[str, Shape] = field(default_factory=dict)
    # Names of the bots in compose/bots.
    bots: frozenset[str] = frozenset({"assistant"})
    # Names of the prompt formats that the proxy knows.
    formats: frozenset[str] = frozenset({"chatml", "metharme", "pygmalion"})
    # What KOBOLDCPP_SOURCE points at: "", "source", "missing" or "other".
    koboldcpp_source: str = ""
    # What SMTP_PASSWORD_FILE points at: "", "readable" by the containers' user, "missing", "closed" or "empty".
    mail_password: str = ""
    # The same of ENGINE_API_KEY_FILE.
    engine_key: str = ""
    # A CPU wheel of torch lies in a folder that pip's own settings name.
    torch_wheel: bool = True
    # Images and secrets made by an earlier run.
    built: bool = False
    secrets: bool = False
    # Other checkouts whose containers bear our project's name.
    elsewhere: tuple[str, ...] = ()
    # Which volumes hold the data: see scripts.lib.generations.
    generation: int = 1
    # The project's database volume is there, and the password that it was made with is not.
    locked_out: bool = False
    # Which generations of volumes there are with conversations in them; empty where there are none, or none is known.
    stored: tuple[int, ...] = ()


def with_overrides(host: Host, environ: Mapping[str, str] = os.environ) -> Host:
    """The host with the facts replaced that CHATBOT_HOST_FACTS names."""
    path = environ.get("CHATBOT_HOST_FACTS")
    if not path:
        return host
    try:
        given: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        return dataclasses.replace(host, **{name: _like(getattr(host, name), value) for name, value in given.items()})
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise Failure(
            "facts.invalid", f"CHATBOT_HOST_FACTS={path}: {error}", "see scripts/lib/host.py for its keys"
        ) from error


def _like(current: object, value: Any) -> Any:
    if isinstance(current, frozenset):
        return frozenset(value)
    if not isinstance(value, list):
        return value
    # Cards are the only facts that are objects.
    return tuple(Gpu.of(item) if isinstance(item, dict) else item for item in value)
