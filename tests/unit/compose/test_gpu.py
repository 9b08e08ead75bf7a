"""What Compose itself makes of docker-compose.gpu.yml for each kind of card; its `config` needs no daemon."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import gpus
from scripts.lib.host import GB, Gpu, Host
from tests.unit.compose.configured import COMPOSE, config

FIRST = Gpu(0, "nvidia", "NVIDIA L4", 23 * GB, 22 * GB, (570, 133, 7), (8, 9))
SECOND = replace(FIRST, index=1)
RADEON = Gpu(0, "amd", "Radeon", 16 * GB, 15 * GB, node="/dev/dri/renderD128")
HOST = Host(render_group=104)
pytestmark = pytest.mark.skipif(COMPOSE is None, reason="docker's command is not installed")


def engine(use: gpus.Use | None, folder: Path) -> dict[str, Any]:
    """The engine's service, with or without cards."""
    if use is None:
        service: dict[str, Any] = config("docker-compose.yml")["services"]["engine"]
        return service
    values = use.values(HOST)
    if not use.every:
        made = folder / "gpu.json"
        made.write_text(json.dumps(use.reservation(HOST)))
        values["GPU_FRAGMENT"] = str(made)
    overlaid: dict[str, Any] = config("docker-compose.yml", "docker-compose.gpu.yml", **values)["services"]["engine"]
    return overlaid


def added(use: gpus.Use, folder: Path) -> dict[str, Any]:
    """What the overlay changes in the engine's service, and nothing else."""
    plain, overlaid = engine(None, folder), engine(use, folder)
    assert plain.keys() <= overlaid.keys()
    changed: dict[str, Any] = {name: value for name, value in overlaid.items() if plain.get(name) != value}
    changed["environment"] = {
        name: value for name, value in changed["environment"].items() if plain["environment"].get(name) != value
    }
    changed["volumes"] = [volume["target"] for volume in changed["volumes"] if volume not in plain["volumes"]]
    changed["build"] = {
        name: value for name, value in changed["build"]["args"].items() if plain["build"]["args"].get(name) != value
    }
    return changed


def devices(**which: Any) -> dict[str, Any]:
    device = {"capabilities": ["gpu"], "driver": "nvidia", **which}
    # Compose itself adds the empty one.
    return {"resources": {"reservations": {"devices": [device]}}, "placement": {}}


def test_the_cpus_engine_has_no_card(tmp_path: Path) -> None:
    plain = engine(None, tmp_path)
    assert not {"devices", "group_add"} & plain.keys()
    assert "reservations" not in str(plain.get("deploy"))


def test_all_of_nvidias_cards(tmp_path: Path) -> None:
    use = gpus.Use((FIRST, SECOND), "cuda", 33, 4, (88, 88))
    environment = {"GPU_LAYERS": "33", "TENSOR_SPLIT": "88,88", "GPU_DEVICES": "all"}
    plain = engine(None, tmp_path)["environment"]
    assert added(use, tmp_path) == {
        "deploy": devices(count=-1),
        "environment": {name: value for name, value in environment.items() if plain.get(name) != value},
        "volumes": ["/var/cache/koboldcpp"],
        "build": {"KOBOLDCPP_BACKEND": "cuda"},
    }


def test_one_of_two_cards_is_reserved_and_no_other(tmp_path: Path) -> None:
    use = gpus.Use((SECOND,), "cuda", 33, 4, every=False)
    assert added(use, tmp_path)["deploy"] == devices(device_ids=["1"])
    both = gpus.Use((FIRST, SECOND), "cuda", 33, 4, every=False)
    assert added(both, tmp_path)["deploy"] == devices(device_ids=["0", "1"])


def test_amds_cards_come_as_render_nodes_with_their_group(tmp_path: Path) -> None:
    changed = added(gpus.Use((RADEON,), "vulkan", 33, 4), tmp_path)
    assert [device["source"] for device in changed["devices"]] == ["/dev/dri"]
    assert changed["group_add"] == ["104"]
    assert changed["build"] == {"KOBOLDCPP_BACKEND": "vulkan"}
    assert "deploy" not in changed


def test_one_of_amds_cards_is_its_node_alone(tmp_path: Path) -> None:
    changed = added(gpus.Use((RADEON,), "vulkan", 33, 4, every=False), tmp_path)
    assert [device["source"] for device in changed["devices"]] == ["/dev/dri/renderD128"]
    assert changed["group_add"] == ["104"]


def test_the_overlay_is_valid_by_itself(tmp_path: Path) -> None:
    """Somebody may call Compose by hand: all of NVIDIA's cards, and as many layers as fit."""
    overlaid = config("docker-compose.yml", "docker-compose.gpu.yml")["services"]["engine"]
    assert overlaid["deploy"] == devices(count=-1)
    assert overlaid["environment"]["GPU_LAYERS"] == "-1"


def test_the_rest_of_the_appliance_stays_as_it_is() -> None:
    plain = config("docker-compose.yml")
    gpu = config("docker-compose.yml", "docker-compose.gpu.yml")
    del plain["services"]["engine"], gpu["services"]["engine"], gpu["volumes"]["engine_cache"]
    assert gpu == plain
