"""Bad settings and unfit machines: a finding with its id and a hint, and nothing changed."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.stack.conftest import Appliance, docker

pytestmark = pytest.mark.stack


PROJECT = "chatbot-refused"


def _traces(folder: Path) -> tuple[set[str], str, str]:
    """What a start leaves behind: files in the checkout, containers, volumes."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}
    ours = f"label=com.docker.compose.project={PROJECT}"
    return files, docker("ps", "-aq", "--filter", ours), docker("volume", "ls", "-q", "--filter", ours)


def _refused(fresh: Appliance, finding: str, **environment: str) -> str:
    """Runs `make up`, which must end with this finding, its hint, and nothing changed."""
    before = _traces(fresh.folder)
    done = fresh.make("up", COMPOSE_PROJECT_NAME=PROJECT, timeout=120, **environment)
    assert done.returncode != 0, done.stdout
    line = next((line for line in done.stdout.splitlines() if finding in line), None)
    assert line, f"{finding} not in:\n{done.stdout}"
    assert "->" in line, f"no hint: {line}"
    assert "Traceback" not in done.stdout
    assert _traces(fresh.folder) == before
    return line


@pytest.mark.parametrize(
    ("finding", "settings"),
    [
        ("setting.invalid", {"ENGINE": "kobold"}),
        ("setting.invalid", {"CONTEXT_SIZE": "many"}),
        ("model.missing", {"MODEL": "no-such-model.gguf"}),
        ("koboldcpp.source_missing", {"KOBOLDCPP_SOURCE": "/no/such/folder"}),
    ],
)
def test_a_bad_setting_is_refused_by_name(fresh: Appliance, finding: str, settings: dict[str, str]) -> None:
    told = _refused(fresh, finding, SOURCES="packages", **settings)
    assert next(iter(settings.values())) in told


@pytest.mark.parametrize(
    ("finding", "facts"),
    [
        ("cpu.no_avx", {"cpu_flags": ["sse4_2"]}),
        ("disk.too_small", {"disk_free_bytes": 2**30}),
        ("ram.too_small_for_model", {"memory_bytes": 2**29}),
    ],
)
def test_an_unfit_machine_is_refused(fresh: Appliance, tmp_path: Path, finding: str, facts: dict[str, object]) -> None:
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(facts))
    _refused(fresh, finding, SOURCES="packages", CHATBOT_HOST_FACTS=str(file))


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return str(probe.getsockname()[1])


def test_a_taken_port_is_named_with_its_holder(fresh: Appliance) -> None:
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        # The appliance of the other tests may hold the usual ones; this is about the one port.
        told = _refused(fresh, "port.taken", SOURCES="packages", HTTP_PORT=_free_port(), HTTPS_PORT=port)
    assert port in told
    assert str(os.getpid()) in told or "python" in told or "pytest" in told


def test_a_domain_that_points_elsewhere_is_refused(fresh: Appliance, tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text(json.dumps({"domain_addresses": ["198.51.100.7"]}))
    told = _refused(
        fresh, "dns.domain_elsewhere", SOURCES="packages", DOMAIN="chat.example.org", CHATBOT_HOST_FACTS=str(file)
    )
    assert "198.51.100.7" in told
