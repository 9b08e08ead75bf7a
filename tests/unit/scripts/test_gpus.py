"""GPU=1: each state of cards, drivers and toolkit has its finding with the fix, and what fits is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chatproxy.core.fitting import Shape, layers_on_gpu, need
from scripts.lib import bring_up, examine, gpus, models, resolve, settings, sources
from scripts.lib.findings import ERROR, INFO, WARNING, Finding
from scripts.lib.host import GB, Gpu
from scripts.lib.models import Model
from scripts.lib.settings import Settings
from tests.unit.scripts.conftest import GOOD, Judge

BIG = Gpu(0, "nvidia", "NVIDIA L4", 23 * GB, 22 * GB, (570, 133, 7), (8, 9))
SMALL = Gpu(1, "nvidia", "NVIDIA T4", 15 * GB, 11 * GB, (570, 133, 7), (7, 5))
AMD = Gpu(0, "amd", "Radeon RX 7900", 16 * GB, 15 * GB, node="/dev/dri/renderD128")
AMD_TOO = replace(AMD, index=1, name="Radeon RX 7600", free=7 * GB, node="/dev/dri/renderD129")
INTEL = Gpu(2, "intel", "INTEL 0x4680", node="/dev/dri/renderD130")
NOUVEAU, UNDRIVEN = Gpu(0, "nvidia"), Gpu(0, "amd")
READY: dict[str, Any] = {"nvidia_toolkit": True, "nvidia_runtime": True}
NVIDIA: dict[str, Any] = {"gpus": (BIG,), **READY}
OLD_DRIVER = {**NVIDIA, "gpus": (replace(BIG, driver=(535, 247, 1)),)}
KEPLER = {**NVIDIA, "gpus": (replace(BIG, compute=(3, 5)),)}
FULL = {**NVIDIA, "gpus": (replace(BIG, free=GB // 8),)}
UBUNTU = {"os_id": "ubuntu", "os_version": "24.04"}

# Llama 3 8B, Q4_K_M.
SHAPE = Shape("llama", 32, 4096, 32, (8,) * 32, 128, 128, 14336, 128256, context=8192)
LLAMA = Model("llama-3-8b", "Llama 3 8B", "llama.gguf", 4_920_734_176, "llama-3", 8192, shape=SHAPE)


@pytest.mark.parametrize(
    ("finding", "facts", "wishes", "fix"),
    [
        ("gpu.missing", {}, {}, "leave GPU=1 out"),
        ("gpu.no_driver", {"gpus": (NOUVEAU,)}, {}, "apt-get install -y linux-headers-amd64 nvidia-driver`"),
        ("gpu.no_driver", {"gpus": (NOUVEAU,), **UBUNTU}, {}, "ubuntu-drivers install"),
        ("gpu.no_driver", {"gpus": (NOUVEAU,), "nvidia_trouble": "Driver/library version mismatch"}, {}, "reboot"),
        ("gpu.no_driver", {"gpus": (UNDRIVEN,)}, {}, "apt-get install -y firmware-amd-graphics"),
        (
            "gpu.no_toolkit",
            {"gpus": (BIG,)},
            {},
            "apt-get install -y nvidia-container-toolkit && nvidia-ctk runtime configure --runtime=docker",
        ),
        (
            "gpu.no_runtime",
            {**NVIDIA, "nvidia_runtime": False},
            {},
            "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker",
        ),
        ("gpu.device_missing", NVIDIA, {"GPU_DEVICES": "0,3"}, "GPU_DEVICES"),
        ("gpu.split_mismatch", NVIDIA, {"TENSOR_SPLIT": "3,1"}, "auto"),
        ("gpu.too_old", KEPLER, {}, "GPU=1 out"),
        ("gpu.driver_too_old", OLD_DRIVER, {"KOBOLDCPP_BACKEND": "cuda"}, "KOBOLDCPP_BACKEND=vulkan"),
        ("gpu.backend_unfit", {"gpus": (AMD,)}, {"KOBOLDCPP_BACKEND": "cuda"}, "KOBOLDCPP_BACKEND=vulkan"),
    ],
)
def test_what_stands_in_the_way_stops_with_its_fix(
    judge: Judge, finding: str, facts: dict[str, Any], wishes: dict[str, str], fix: str
) -> None:
    found = judge(facts, gpu=True, **wishes)
    assert list(found) == [finding]
    assert found[finding].level == ERROR
    assert fix in found[finding].hint
    assert f"`make up GPU=1 ACCEPT={finding}` goes on with the CPU" in found[finding].hint
    assert judge(facts, **{name: value for name, value in wishes.items() if name != "KOBOLDCPP_BACKEND"}) == {}


def test_a_docker_older_than_cdi_is_named_where_only_a_specification_is_there(judge: Judge) -> None:
    facts = {**NVIDIA, "nvidia_runtime": False, "cdi": True}
    assert "Docker 20.10.24 is older than CDI" in judge(facts, gpu=True)["gpu.no_runtime"].fact
    assert "CDI" not in judge({**facts, "engine_version": (28, 2, 2)}, gpu=True)["gpu.no_runtime"].fact


def test_before_docker_is_installed_nothing_is_said_of_its_runtime(judge: Judge) -> None:
    bare = {"docker_cli": False, "docker_engine": False, "docker_answers": False, "engine_version": ()}
    found = judge({**NVIDIA, "nvidia_runtime": False, **bare}, gpu=True)
    assert not [name for name in found if name.startswith("gpu.no")]


@pytest.mark.parametrize(
    ("facts", "wishes", "backend"),
    [
        (NVIDIA, {}, "cuda"),
        (NVIDIA, {"KOBOLDCPP_BACKEND": "openblas"}, "cuda"),
        (OLD_DRIVER, {}, "vulkan"),
        ({"gpus": (AMD,)}, {}, "vulkan"),
        (NVIDIA, {"SOURCES": "packages", "KOBOLDCPP_SOURCE": "/src"}, "vulkan"),
    ],
)
def test_the_backend_that_is_chosen_is_said(
    judge: Judge, facts: dict[str, Any], wishes: dict[str, str], backend: str
) -> None:
    found = judge(facts, gpu=True, **wishes)["gpu.backend_chosen"]
    assert found.level == INFO
    assert f"builds for {backend}" in found.fact


@pytest.mark.parametrize("backend", ["cuda", "vulkan", "clblast"])
def test_a_backend_that_the_operator_chose_stays(judge: Judge, backend: str) -> None:
    found = judge(NVIDIA, gpu=True, KOBOLDCPP_BACKEND=backend)
    assert "gpu.backend_chosen" not in found
    assert all(finding.level == INFO for finding in found.values())


def test_gpu_1_is_said_to_be_in_vain_for_an_engine_that_uses_none(judge: Judge) -> None:
    for wishes in ({"ENGINE": "llamacpp"}, {"ENGINE": "external", "ENGINE_URL": "http://10.0.0.5:8000"}):
        assert judge(NVIDIA, gpu=True, **wishes)["gpu.backend_without"].level == WARNING


def test_a_gpus_backend_without_gpu_1_is_built_for_the_cpu_and_said(
    judge: Judge, wanted: Callable[..., Settings]
) -> None:
    assert judge(NVIDIA, KOBOLDCPP_BACKEND="cuda")["gpu.not_asked"].level == WARNING
    chosen = wanted(KOBOLDCPP_BACKEND="cuda")
    choice = sources.decide(chosen, GOOD.reachable)
    values = resolve.resolve(chosen, GOOD, choice, LLAMA, gpu=None, ca_bundle="")
    assert values["KOBOLDCPP_BACKEND_RESOLVED"] == "cpu"


# --- what fits ---

Plan = Callable[..., gpus.Use]


@pytest.fixture
def plan(wanted: Callable[..., Settings]) -> Plan:
    def make(*cards: Gpu, model: Model = LLAMA, **values: str) -> gpus.Use:
        chosen = wanted(**values)
        host = replace(GOOD, gpus=cards, render_group=104, **READY)
        return gpus.use(chosen, host, sources.decide(chosen, host.reachable), model)

    return make


def test_a_card_that_holds_all_takes_all_layers_and_four_answers(plan: Plan) -> None:
    assert (plan(BIG).layers, plan(BIG).slots) == (33, 4)


def test_what_cannot_be_computed_is_said(judge: Judge) -> None:
    """A file whose head is not known, and a card that does not tell its memory."""
    assert judge({"gpus": (INTEL,)}, gpu=True)["gpu.layers_unknown"].level == INFO


def test_fewer_answers_rather_than_layers_on_the_cpu(plan: Plan) -> None:
    """As many slots as leave the whole model on the card; where not even one does, one slot and the layers that fit."""
    shrinking = [plan(replace(BIG, free=free)) for free in range(12 * GB, 2 * GB, -GB // 4)]
    whole = [use for use in shrinking if use.layers == 33]
    assert [use.slots for use in whole] == sorted((use.slots for use in whole), reverse=True)
    assert {use.slots for use in whole} == {1, 2, 3, 4}
    assert {use.slots for use in shrinking if use.layers < 33} == {1}
    layers = [use.layers for use in shrinking if use.slots == 1]
    assert layers == sorted(layers, reverse=True)


def test_the_boundary_is_fittings_own(plan: Plan) -> None:
    """One byte less than all layers need, and one of them stays with the CPU."""
    enough = next(free for free in range(4 * GB, 9 * GB, 2**20) if _layers((free,), slots=1) == 33)
    assert plan(replace(BIG, free=enough), ENGINE_SLOTS="1").layers == 33
    assert plan(replace(BIG, free=enough - 2**20), ENGINE_SLOTS="1").layers < 33
    assert enough > need(LLAMA.size, SHAPE, context=4096, slots=1, batch=512).weights


def _layers(free: tuple[int, ...], slots: int) -> int:
    return layers_on_gpu(LLAMA.size, SHAPE, free, context=4096, slots=slots, batch=512)


def test_given_numbers_are_taken_as_they_are(plan: Plan) -> None:
    use = plan(BIG, SMALL, GPU_LAYERS="20", ENGINE_SLOTS="2", TENSOR_SPLIT="3,1")
    assert (use.layers, use.slots, use.split) == (20, 2, (3, 1))


def test_several_cards_share_by_their_free_memory(plan: Plan) -> None:
    assert plan(BIG, SMALL).split == (88, 44)
    assert plan(BIG).split == ()
    assert plan(BIG, SMALL, GPU_DEVICES="1").split == ()


def test_a_model_or_card_that_tells_too_little_leaves_the_layers_to_the_engine(plan: Plan) -> None:
    assert plan(BIG, model=replace(LLAMA, shape=None)).layers == gpus.ITS_CHOICE
    assert plan(INTEL).layers == gpus.ITS_CHOICE


def test_integrated_graphics_is_left_out_beside_a_card_and_nvidia_comes_first(plan: Plan) -> None:
    assert plan(INTEL, AMD).cards == (AMD,)
    assert plan(INTEL).cards == (INTEL,)
    assert plan(AMD, BIG, INTEL).cards == (BIG,)


def test_clblast_computes_on_one_card_the_one_with_most_room(plan: Plan) -> None:
    use = plan(SMALL, BIG, KOBOLDCPP_BACKEND="clblast")
    assert use.cards == (BIG,)
    assert use.split == ()
    assert not use.every


@pytest.mark.parametrize(
    ("cards", "wishes", "expected"),
    [
        ((BIG,), {}, "gpu.layers"),
        ((replace(BIG, free=4 * GB),), {}, "gpu.layers_partly"),
        ((replace(BIG, free=4 * GB),), {"GPU_LAYERS": "33"}, "gpu.layers_too_many"),
        ((replace(BIG, free=GB // 8),), {}, "gpu.too_small"),
    ],
)
def test_how_much_fits_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, judge: Judge, cards: tuple[Gpu, ...], wishes: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(models, "load_catalog", lambda: {LLAMA.name: LLAMA})
    found: dict[str, Finding] = judge(
        {**NVIDIA, "gpus": cards, "memory_bytes": 32 * GB}, gpu=True, MODEL=LLAMA.name, **wishes
    )
    assert expected in found


def test_what_stays_with_the_cpu_needs_memory_there(monkeypatch: pytest.MonkeyPatch, judge: Judge) -> None:
    monkeypatch.setattr(models, "load_catalog", lambda: {LLAMA.name: LLAMA})
    facts = {**NVIDIA, "gpus": (replace(BIG, free=2 * GB),)}
    assert "gpu.ram_too_small" in judge({**facts, "memory_bytes": 3 * GB}, gpu=True, MODEL=LLAMA.name)
    assert "gpu.ram_too_small" not in judge({**facts, "memory_bytes": 16 * GB}, gpu=True, MODEL=LLAMA.name)


def test_a_projector_takes_its_room_on_the_card(plan: Plan) -> None:
    seeing = replace(LLAMA, projector=models.Weights("mmproj.gguf", 2 * GB))
    half = replace(BIG, free=6 * GB)
    assert plan(half, model=seeing, ENGINE_SLOTS="1").layers < plan(half, ENGINE_SLOTS="1").layers == 33


# --- what Compose is given ---


def test_all_of_nvidias_cards(plan: Plan) -> None:
    host = replace(GOOD, gpus=(BIG, SMALL))
    assert plan(BIG, SMALL).values(host) == {
        "GPU": "1",
        "GPU_KIND": "nvidia",
        "GPU_FRAGMENT": "compose/gpu.yml",
        "GPU_GROUP": "",
        "GPU_NAMES": "NVIDIA L4, NVIDIA T4",
        "KOBOLDCPP_BACKEND_RESOLVED": "cuda",
        "GPU_LAYERS_RESOLVED": "33",
        "TENSOR_SPLIT_RESOLVED": "88,44",
    }


def test_an_error_that_was_waved_through_ends_on_the_cpu(wanted: Callable[..., Settings]) -> None:
    chosen = wanted(KOBOLDCPP_BACKEND="cuda")
    choice = sources.decide(chosen, GOOD.reachable)
    assert bring_up.cards(GOOD, chosen, choice, LLAMA, gpu=True) is None
    values = resolve.resolve(chosen, GOOD, choice, LLAMA, gpu=None, ca_bundle="")
    assert (values["GPU"], values["KOBOLDCPP_BACKEND_RESOLVED"], values["GPU_LAYERS_RESOLVED"]) == ("", "cpu", "0")


def test_after_such_a_fallback_the_machines_own_memory_counts_again(judge: Judge) -> None:
    assert "ram.too_small_for_model" in judge({"memory_bytes": GB}, gpu=True)
    assert "ram.too_small_for_model" not in judge({**NVIDIA, "memory_bytes": 2 * GB}, gpu=True)


# --- what runs ---


def test_status_names_cards_and_layers() -> None:
    host = replace(GOOD, gpus=(BIG,), **READY)
    chosen = settings.load(environ={}, env_file=bring_up.paths.ROOT / "no-such-file")
    use = gpus.use(chosen, host, sources.decide(chosen, host.reachable), LLAMA)
    assert gpus.told(use.values(host)) == "33 layers on NVIDIA L4 (cuda)"
    assert gpus.told({"GPU": "1", "GPU_LAYERS_RESOLVED": "-1", "GPU_NAMES": "A"}).startswith("as many layers as fit")
    assert gpus.told({"GPU": ""}) == ""


@pytest.mark.parametrize(
    ("said", "finding"),
    [
        (["load_tensors: offloaded 33/33 layers to GPU"], ["gpu.in_use"]),
        (["load_tensors: offloaded 0/33 layers to GPU", "load_tensors: offloaded 33/33 layers to GPU"], ["gpu.in_use"]),
        (["load_tensors: offloaded 20/33 layers to GPU"], ["gpu.layers_lost"]),
        ([], []),
    ],
)
def test_doctor_believes_the_engines_own_word(said: list[str], finding: list[str]) -> None:
    values = {"GPU": "1", "GPU_LAYERS_RESOLVED": "33", "GPU_NAMES": "NVIDIA L4"}
    assert [found.id for found in examine.judge_layers(values, said)] == finding


def test_doctor_notices_a_gpu_that_is_idle() -> None:
    (found,) = examine.judge_layers({"GPU_LAYERS_RESOLVED": "-1"}, ["offloaded 0/33 layers to GPU"])
    assert found.id == "gpu.idle"
