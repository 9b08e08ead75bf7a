"""Both sets of compose files are accepted by Compose itself, without a `.env` and without anything running."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from tests.stack.conftest import SERVICES, Appliance

pytestmark = pytest.mark.stack


def _config(fresh: Appliance, *files: str, **environment: str) -> dict[str, Any]:
    words = ["docker", "compose", "--project-directory", str(fresh.folder)]
    words += [word for file in files for word in ("-f", str(fresh.folder / file))]
    done = subprocess.run(
        [*words, "--profile", "engine", "config", "--format", "json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return dict(json.loads(done.stdout))


def test_the_cpu_set_is_valid(fresh: Appliance) -> None:
    services = _config(fresh, "docker-compose.yml")["services"]
    assert set(services) == SERVICES
    assert "reservations" not in str(services["engine"].get("deploy"))


def test_the_gpu_set_adds_the_device_and_the_layers_and_nothing_else(fresh: Appliance) -> None:
    plain = _config(fresh, "docker-compose.yml")
    gpu = _config(fresh, "docker-compose.yml", "docker-compose.gpu.yml")
    engine = gpu["services"]["engine"]
    (device,) = engine["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert engine["environment"]["GPU_LAYERS"] == "-1"
    engine["environment"]["GPU_LAYERS"] = plain["services"]["engine"]["environment"]["GPU_LAYERS"]
    assert (engine["environment"].pop("TENSOR_SPLIT"), engine["environment"].pop("GPU_DEVICES")) == ("auto", "all")
    assert [volume["target"] for volume in engine["volumes"]] == ["/models", "/var/cache/koboldcpp"]
    engine["volumes"].pop()
    del gpu["volumes"]["engine_cache"]
    del engine["deploy"]["resources"]["reservations"]
    if not any(engine["deploy"].get("resources", {}).values()):
        del engine["deploy"]
    plain["services"]["engine"].pop("deploy", None)
    engine.pop("deploy", None)
    assert gpu == plain


def test_an_external_engine_takes_the_inner_one_out_and_opens_its_network(fresh: Appliance) -> None:
    words = ["docker", "compose", "--project-directory", str(fresh.folder), "config", "--format", "json"]
    environment = {**os.environ, "ENGINE_NETWORK_INTERNAL": "false", "COMPOSE_PROFILES": ""}
    done = subprocess.run(words, cwd=fresh.folder, env=environment, capture_output=True, text=True, check=True)
    config = json.loads(done.stdout)
    assert set(config["services"]) == SERVICES - {"engine"}
    assert not config["networks"]["engine"].get("internal")


@pytest.mark.parametrize("backend", ["cpu", "openblas", "clblast", "cuda", "vulkan"])
def test_each_backend_reaches_the_build(fresh: Appliance, backend: str) -> None:
    config = _config(fresh, "docker-compose.yml", KOBOLDCPP_BACKEND=backend)
    assert config["services"]["engine"]["build"]["args"]["KOBOLDCPP_BACKEND"] == backend
