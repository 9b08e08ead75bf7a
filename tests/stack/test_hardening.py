"""What every container is denied, read from the running engine rather than from the compose files."""

from __future__ import annotations

import subprocess

import pytest

from tests.stack.conftest import PROJECT, SERVICES, Appliance, docker

pytestmark = pytest.mark.stack


def test_only_80_and_443_are_published(appliance: Appliance) -> None:
    published = set()
    for name, container in appliance.containers().items():
        for inside, bindings in (container["NetworkSettings"]["Ports"] or {}).items():
            published |= {(name, inside, binding["HostPort"]) for binding in bindings or []}
    assert published == {("caddy", "80/tcp", "80"), ("caddy", "443/tcp", "443"), ("caddy", "443/udp", "443")}


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_has_only_what_it_needs(appliance: Appliance, service: str) -> None:
    container = appliance.containers()[service]
    config, host = container["Config"], container["HostConfig"]
    assert config["User"].split(":")[0] == "10001"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert 0 < host["PidsLimit"] <= 1000
    assert host["Memory"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    assert host["NetworkMode"] != "host"
    # What works behind the scenes gives way where processors are short, and nobody is kept from the kernel's choice
    # when memory is.
    assert host["CpuShares"] == (256 if service == "worker" else 1024)
    assert not host["OomKillDisable"]
    assert host["OomScoreAdj"] == 0


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_no_secret_stands_in_an_environment(appliance: Appliance, service: str) -> None:
    secrets = [file.read_text().strip() for file in (appliance.folder / ".appliance" / "secrets").iterdir()]
    shown = str(appliance.containers()[service])
    assert not any(secret in shown for secret in secrets)


def test_inner_networks_have_no_way_out(appliance: Appliance) -> None:
    for name in ("front", "engine", "mail", "knowledge", "data"):
        assert docker("network", "inspect", f"{PROJECT}_{name}", "--format", "{{.Internal}}").strip() == "true"


# Which service can reach which, by name and port: everything not named here must fail.
REACHABLE = {
    "caddy": {"proxy"},
    "proxy": {"engine", "embeddings", "chroma", "mongo"},
    "engine": {"proxy"},
    "embeddings": {"proxy", "chroma"},
    "chroma": {"proxy", "embeddings"},
    "mongo": {"proxy"},
    "worker": {"proxy", "engine", "embeddings", "chroma", "mongo"},
}
PORTS = {
    "caddy": 443,
    "proxy": 8080,
    "engine": 5001,
    "embeddings": 8080,
    "chroma": 8000,
    "mongo": 27017,
    "worker": 8081,
}
CONNECT = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"


@pytest.mark.parametrize("source", sorted(SERVICES))
def test_a_service_reaches_only_its_neighbours(appliance: Appliance, source: str) -> None:
    reached = {
        target
        for target in SERVICES - {source, "caddy"}
        if appliance.execute(
            source, "/usr/bin/python3", "-c", CONNECT, target, str(PORTS[target]), check=False
        ).returncode
        == 0
    }
    assert reached == REACHABLE[source]


def test_chroma_answers_nobody_without_its_token(appliance: Appliance) -> None:
    ask = "import urllib.request as u; u.urlopen('http://chroma:8000/api/v2/heartbeat', timeout=5)"
    refused = appliance.execute("proxy", "/usr/bin/python3", "-c", ask, check=False)
    assert "401" in refused.stderr
    inner = appliance.execute("proxy", "/usr/bin/python3", "-c", CONNECT, "chroma", "8001", check=False)
    assert inner.returncode != 0


def test_mongo_tells_nothing_without_a_login(appliance: Appliance) -> None:
    address = "'mongodb://mongo:27017', directConnection=True, serverSelectionTimeoutMS=3000"
    ask = f"from pymongo import MongoClient; print(MongoClient({address})"
    refused = appliance.execute("proxy", "python3", "-c", ask + "['chatbot'].keys.find_one())", check=False)
    assert "authentication" in refused.stderr.lower()


def test_from_the_host_no_inner_port_answers(appliance: Appliance) -> None:
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    for port in (5001, 8080, 8000, 27017):
        assert not any(line.split()[3].endswith(f"0.0.0.0:{port}") for line in listening.splitlines())
