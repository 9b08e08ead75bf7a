"""The CIS Docker Benchmark's checks of images and running containers (1.6.0, sections 4 and 5), over every service.

What they ask of a host or of people (5.1 swarm, 5.23 and 5.24 `docker exec`) is not to be seen in these files. Each
exception stands in EXCEPTIONS with its reason; one that is not needed any more fails as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import dockerfiles
from tests.unit.compose.configured import COMPOSE, ROOT, config

pytestmark = pytest.mark.skipif(COMPOSE is None, reason="docker's command is not installed")

Service = dict[str, Any]
# As `make up` resolves them on a machine with two cores.
RESOLVED = {"ENGINE_MEMORY_RESOLVED": "2048m", "ENGINE_CPUS_RESOLVED": "2"}
PACKAGES = {"SOURCES_RESOLVED": "packages", "ENGINE_RESOLVED": "llamacpp"}
GPU = ("docker-compose.yml", "docker-compose.gpu.yml")
VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "upstream": (("docker-compose.yml",), RESOLVED),
    "packages": (("docker-compose.yml",), {**RESOLVED, **PACKAGES}),
    "nvidia": (GPU, RESOLVED),
    "dri": (GPU, {**RESOLVED, "GPU_KIND": "dri"}),
}
SERVICES = frozenset(
    ("caddy", "chroma", "embeddings", "engine", "grafana", "mongo", "prometheus", "proxy", "wireguard", "worker")
)
# What 5.15 fears, a loop that eats the machine, Docker itself slows down: it waits twice as long each time.
RESTARTS = "nobody watches: after a crash or a reboot it has to come back however often; doctor tells of a loop"
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("4.1", "wireguard"): "interfaces and firewall rules are root's to make; Caddy in it runs as 10001",
    (
        "5.4",
        "wireguard",
    ): "NET_ADMIN for the interface and the firewall of its own namespace, SETUID and SETGID to leave root",
    (
        "5.6",
        "wireguard",
    ): "it makes the keys and peers that `make wg-peer` hands over: one folder of the project's own state",
    ("5.8", "caddy"): "80 and 443 are the web's",
    ("5.14", "caddy"): "it is there for everybody",
    ("5.14", "wireguard"): "devices call from anywhere",
    ("5.18", "wireguard"): "/dev/net/tun for wireguard-go, where the kernel has no WireGuard",
    ("5.18", "engine"): "with GPU=1 the cards, or render nodes, and nothing else",
    ("5.19", "engine"): "memlock, for ENGINE_MLOCK",
    **{("5.15", service): RESTARTS for service in SERVICES},
}
# Names like a secret's whose values are none.
NO_SECRETS = re.compile(r"_TOKENS_PER_DAY$|^IMAGE_TOKENS$")
SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_KEY|PRIVATE_KEY|CREDENTIAL")


def shipped(service: Service) -> dockerfiles.Shipped:
    build = service["build"]
    text = (Path(build["context"]) / build["dockerfile"]).read_text()
    return dockerfiles.shipped(text, build.get("target", ""))


def user(service: Service) -> str:
    image = shipped(service)
    base = dockerfiles.shipped((ROOT / "images" / "base" / "Dockerfile").read_text(), "runtime")
    inherited = base.last("USER") if image.base == "chatbot-base:local" else ""
    given: str = service.get("user") or image.last("USER") or inherited
    return given


def sources(service: Service) -> Iterator[Path]:
    """Paths of the host that the container sees."""
    for volume in service.get("volumes", ()):
        if volume["type"] == "bind":
            yield Path(volume["source"])


def foreign_mounts(service: Service) -> list[str]:
    """Writable folders of the host, and any outside the project."""
    binds = [volume for volume in service.get("volumes", ()) if volume["type"] == "bind"]
    return [
        volume["source"]
        for volume in binds
        if not volume.get("read_only")
        or not Path(volume["source"]).is_relative_to(ROOT)
        or Path(volume["source"]) == ROOT
        or "secrets" in Path(volume["source"]).parts
    ]


def secrets_shown(service: Service) -> list[str]:
    shown = {**service.get("environment", {}), **service.get("build", {}).get("args", {})}
    named = [name for name in shown if SECRET.search(name) and not NO_SECRETS.search(name)]
    return [name for name in named if not name.endswith("_FILE")]


def healthcheck(service: Service) -> str:
    given = service.get("healthcheck", {})
    return "NONE" if given.get("disable") else str(given.get("test", "")) or shipped(service).last("HEALTHCHECK")


def options(service: Service) -> str:
    return " ".join(service.get("security_opt", ()))


# Number and name as the benchmark has them: what of a service is against it (anything true).
CHECKS: dict[str, tuple[str, Callable[[Service], Any]]] = {
    "4.1": ("a user for the container", lambda s: user(s).split(":")[0] in ("", "0", "root")),
    "4.6": ("HEALTHCHECK instructions", lambda s: healthcheck(s) in ("", "NONE", 'CMD ["false"]')),
    "4.10": ("no secrets in Dockerfiles, arguments and environment", secrets_shown),
    "5.2": ("AppArmor's profile", lambda s: "apparmor" in options(s)),
    "5.3": ("SELinux's labels", lambda s: "label" in options(s)),
    "5.4": ("restricted capabilities", lambda s: s.get("cap_drop") != ["ALL"] or s.get("cap_add")),
    "5.5": ("not privileged", lambda s: s.get("privileged")),
    "5.6": ("no sensitive folders of the host", foreign_mounts),
    "5.7": ("no sshd", lambda s: {"openssh-server", "ssh", "dropbear"} & set(shipped(s).packages)),
    "5.8": ("no privileged ports", lambda s: any(int(p["published"]) < 1024 for p in s.get("ports", ()))),
    "5.10": ("not the host's network", lambda s: s.get("network_mode") == "host"),
    "5.11": ("limited memory", lambda s: int(s.get("mem_limit", 0)) <= 0),
    "5.12": ("CPU priority", lambda s: int(s.get("cpu_shares", 0)) <= 0),
    "5.13": ("read-only root", lambda s: s.get("read_only") is not True),
    "5.14": ("bound to one interface", lambda s: any(not p.get("host_ip") for p in s.get("ports", ()))),
    "5.15": ("restart on failure, five times", lambda s: not re.fullmatch("on-failure:[1-5]", s.get("restart", ""))),
    "5.16": ("not the host's processes", lambda s: s.get("pid")),
    "5.17": ("not the host's IPC", lambda s: s.get("ipc")),
    "5.18": ("no devices of the host", lambda s: s.get("devices") or "reservations" in str(s.get("deploy"))),
    "5.19": ("ulimits only where needed", lambda s: s.get("ulimits")),
    "5.20": ("no shared mounts", lambda s: "propagation" in str(s.get("volumes"))),
    "5.21": ("not the host's UTS", lambda s: s.get("uts")),
    "5.22": ("the default seccomp profile", lambda s: "seccomp" in options(s)),
    "5.25": ("its own cgroup", lambda s: s.get("cgroup_parent") or s.get("cgroup")),
    "5.26": ("no new privileges", lambda s: "no-new-privileges:true" not in options(s).split()),
    "5.27": ("health checked at runtime", lambda s: healthcheck(s) in ("", "NONE", 'CMD ["false"]')),
    "5.28": ("images by a version", lambda s: ":" not in s["image"] or s["image"].endswith(":latest")),
    "5.29": ("limited PIDs", lambda s: not 0 < int(s.get("pids_limit", 0)) <= 1000),
    "5.30": ("not Docker's default bridge", lambda s: not s.get("networks") or s.get("network_mode") == "bridge"),
    "5.31": ("no host's user namespace", lambda s: s.get("userns_mode")),
    "5.32": ("no Docker socket", lambda s: "docker.sock" in str(s) or "containerd.sock" in str(s)),
}


# What makes a good service bad, check by check.
SPOILT: dict[str, Service] = {
    "4.1": {"user": "0:0"},
    "4.6": {"healthcheck": {"disable": True}},
    "4.10": {"environment": {"SMTP_PASSWORD": "x"}},
    "5.2": {"security_opt": ["apparmor=unconfined"]},
    "5.3": {"security_opt": ["label:disable"]},
    "5.4": {"cap_add": ["SYS_ADMIN"]},
    "5.5": {"privileged": True},
    "5.6": {"volumes": [{"type": "bind", "source": "/etc", "target": "/host", "read_only": True}]},
    "5.8": {"ports": [{"published": "22", "host_ip": "127.0.0.1"}]},
    "5.10": {"network_mode": "host"},
    "5.11": {"mem_limit": "0"},
    "5.12": {"cpu_shares": 0},
    "5.13": {"read_only": False},
    "5.14": {"ports": [{"published": "8080"}]},
    "5.15": {"restart": "always"},
    "5.16": {"pid": "host"},
    "5.17": {"ipc": "host"},
    "5.18": {"devices": [{"source": "/dev/kmsg"}]},
    "5.19": {"ulimits": {"nofile": 1}},
    "5.20": {"volumes": [{"type": "bind", "source": str(ROOT / "models"), "bind": {"propagation": "rshared"}}]},
    "5.21": {"uts": "host"},
    "5.22": {"security_opt": ["seccomp=unconfined"]},
    "5.25": {"cgroup_parent": "/"},
    "5.26": {"security_opt": []},
    "5.27": {"healthcheck": {"disable": True}},
    "5.28": {"image": "chatbot-chroma:latest"},
    "5.29": {"pids_limit": -1},
    "5.30": {"network_mode": "bridge"},
    "5.31": {"userns_mode": "host"},
    "5.32": {"volumes": [{"type": "bind", "source": "/run/docker.sock", "read_only": True}]},
}


@pytest.mark.parametrize("number", SPOILT)
def test_each_check_notices_what_it_is_for(number: str) -> None:
    service = config("docker-compose.yml")["services"]["chroma"]
    # No service keeps to 5.15.
    assert number == "5.15" or not CHECKS[number][1](service)
    assert CHECKS[number][1]({**service, **SPOILT[number]})


@pytest.fixture(scope="module", params=VARIANTS)
def services(request: pytest.FixtureRequest) -> dict[str, Service]:
    files, values = VARIANTS[request.param]
    found: dict[str, Service] = config(*files, profile="*", **values)["services"]
    assert set(found) == SERVICES
    return found


@pytest.mark.parametrize("number", CHECKS, ids=lambda number: f"{number} {CHECKS[number][0]}")
def test_every_service_keeps_to_the_benchmark(services: dict[str, Service], number: str) -> None:
    against = {name: found for name, service in services.items() if (found := CHECKS[number][1](service))}
    assert {name: found for name, found in against.items() if (number, name) not in EXCEPTIONS} == {}


def test_each_exception_is_still_one() -> None:
    variants = [
        config(*VARIANTS[name][0], profile="*", **VARIANTS[name][1])["services"] for name in ("upstream", "nvidia")
    ]
    idle = [
        (number, service)
        for number, service in EXCEPTIONS
        if not any(CHECKS[number][1](services[service]) for services in variants)
    ]
    assert idle == []


def test_only_what_visitors_and_admins_call_is_published(services: dict[str, Service]) -> None:
    """5.9: only needed ports are open."""
    open_ports = {
        (name, port["protocol"], port["target"])
        for name, service in services.items()
        for port in service.get("ports", ())
    }
    assert open_ports == {
        ("caddy", "tcp", 80), ("caddy", "tcp", 443), ("caddy", "udp", 443), ("wireguard", "udp", 51820)
    }  # fmt: skip


def test_what_an_exception_allows_is_no_more_than_it_says(services: dict[str, Service]) -> None:
    gate = services["wireguard"]
    assert set(gate["cap_add"]) == {"NET_ADMIN", "SETUID", "SETGID"}
    assert [device["source"] for device in gate["devices"]] == ["/dev/net/tun"]
    assert list(sources(gate)) == [ROOT / ".appliance" / "wireguard"]
    assert set(services["engine"].get("ulimits", {})) <= {"memlock"}
    assert {device["source"] for device in services["engine"].get("devices", ())} <= {"/dev/dri"}
    assert {service["restart"] for service in services.values()} == {"unless-stopped"}


def test_what_works_behind_the_scenes_gives_way_to_answers(services: dict[str, Service]) -> None:
    """5.12 asks for a priority that fits: ingestion and figures take what conversations leave."""
    background = {"worker", "prometheus", "grafana"}
    shares = {name: int(service["cpu_shares"]) for name, service in services.items()}
    assert max(shares[name] for name in background) < min(shares[name] for name in SERVICES - background)
