"""Cards as nvidia-smi, the kernel and PCI show them, from files and texts as real machines have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.lib import gpu_facts, host
from scripts.lib.host import Gpu, Host

MIB = 2**20
TWO = """\
0, GPU-aa, NVIDIA GeForce RTX 4090, 24564, 23028, 570.133.07, 8.9
1, GPU-bb, NVIDIA GeForce GTX 750 Ti, 2002, 1900, 570.133.07, 5.0
"""


def test_nvidias_cards_in_bytes_and_numbers() -> None:
    first, second = gpu_facts.nvidia(TWO)
    name = "NVIDIA GeForce RTX 4090"
    assert first == Gpu(0, "nvidia", name, 24564 * MIB, 23028 * MIB, (570, 133, 7), (8, 9))
    assert (second.index, second.free, second.compute) == (1, 1900 * MIB, (5, 0))


def test_what_our_own_engine_holds_counts_as_free() -> None:
    """Or a second `make up` would find the card full of what it is about to replace."""
    apps = "GPU-aa, 4711, 1000\nGPU-aa, 9, 400\nGPU-bb, 4711, 16\nGPU-bb, 4712, [N/A]\n"
    first, second = gpu_facts.nvidia(TWO, apps, frozenset({4711, 4712}))
    assert (first.free, second.free) == ((23028 + 1000) * MIB, (1900 + 16) * MIB)


def test_a_card_that_does_not_tell_its_memory_has_none_known() -> None:
    """Such as one that shares the machine's; a driver before 510 knows no compute capability either."""
    (card,) = gpu_facts.nvidia("0, GPU-aa, NVIDIA GB10, [N/A], [N/A], 470.82.01\n")
    assert (card.memory, card.free, card.driver, card.compute) == (0, 0, (470, 82, 1), ())


def test_what_is_no_card_among_nvidias_lines_is_passed_over() -> None:
    said = "Unable to determine the device handle for GPU 0000:0B:00.0: Unknown Error\n"
    after = "WARNING: infoROM is corrupted at gpu 0000:0B:00.0\n\n[N/A], a, b, c, d, e, f\n"
    apps = "No running processes found\n,,\n"
    assert gpu_facts.nvidia(said + TWO + after, apps) == gpu_facts.nvidia(TWO)
    assert gpu_facts.nvidia("No devices were found\n") == ()


@pytest.mark.parametrize(
    ("said", "trouble"), [("No devices were found", "No devices were found"), ("", "exit status 0")]
)
def test_a_driver_that_answers_without_a_card_is_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, trouble: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    cards, told = gpu_facts.collect("")
    assert told == trouble and not any(card.name for card in cards if card.vendor == "nvidia")


def _node(drm: Path, name: str, **files: str) -> None:
    (drm / name / "device").mkdir(parents=True)
    for file, text in files.items():
        (drm / name / "device" / file).write_text(f"{text}\n")


def test_amds_and_intels_cards_have_render_nodes(tmp_path: Path) -> None:
    drm = tmp_path / "drm"
    memory = {"mem_info_vram_total": "17163091968", "mem_info_vram_used": "1000000000"}
    _node(drm, "renderD128", vendor="0x8086", device="0x4680")
    _node(drm, "renderD129", vendor="0x1002", device="0x744c", product_name="Radeon RX 7900", **memory)
    _node(drm, "renderD130", vendor="0x10de", device="0x2684")
    _node(drm, "renderD131", vendor="0x1af4", device="0x1050")
    intel, amd = gpu_facts.rendering(drm, tmp_path)
    assert intel == Gpu(0, "intel", "INTEL 0x4680", node="/dev/dri/renderD128")
    assert amd == Gpu(1, "amd", "Radeon RX 7900", 17163091968, 16163091968, node="/dev/dri/renderD129")


def test_an_engine_on_amds_card_holds_its_memory_once_however_many_descriptors(tmp_path: Path) -> None:
    drm, fdinfo = tmp_path / "drm", tmp_path / "4711" / "fdinfo"
    (tmp_path / "0000:03:00.0").mkdir()
    (drm / "renderD128").mkdir(parents=True)
    (drm / "renderD128" / "device").symlink_to(tmp_path / "0000:03:00.0")
    told = {"vendor": "0x1002", "mem_info_vram_total": "8000000", "mem_info_vram_used": "3000000"}
    for name, text in told.items():
        (tmp_path / "0000:03:00.0" / name).write_text(text)
    fdinfo.mkdir(parents=True)
    client = "drm-driver:\tamdgpu\ndrm-client-id:\t7\ndrm-pdev:\t0000:03:00.0\ndrm-memory-vram:\t1000 KiB\n"
    (fdinfo / "5").write_text(client)
    (fdinfo / "6").write_text(client)
    (fdinfo / "7").write_text("pos:\t0\n")
    (card,) = gpu_facts.rendering(drm, tmp_path, frozenset({4711, 4712}))
    assert card.free == 5_000_000 + 1000 * 1024


def test_cards_without_a_driver_are_seen_on_the_bus(tmp_path: Path) -> None:
    for address, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030000"),
        ("0000:01:00.1", "0x10de", "0x040300"),
        ("0000:00:01.0", "0x1234", "0x030000"),
        ("0000:02:00.0", "0x10de", "0x030200"),
    ):
        (tmp_path / address).mkdir()
        (tmp_path / address / "vendor").write_text(f"{vendor}\n")
        (tmp_path / address / "class").write_text(f"{kind}\n")
    assert gpu_facts.on_the_bus(tmp_path) == ("nvidia", "nvidia")
    assert gpu_facts.on_the_bus(tmp_path / "none") == ()


def test_a_cdi_specification_is_seen(tmp_path: Path) -> None:
    assert not gpu_facts.has_cdi([tmp_path])
    (tmp_path / "nvidia.yaml").write_text("cdiVersion: 0.5.0\n")
    assert gpu_facts.has_cdi([tmp_path])


def test_cards_can_be_replaced_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    card = {"index": 0, "vendor": "nvidia", "name": "L4", "memory": 5, "free": 4, "driver": [570, 1], "compute": [8, 9]}
    file.write_text(json.dumps({"gpus": [card], "nvidia_toolkit": True}))
    changed = host.with_overrides(Host(), {"CHATBOT_HOST_FACTS": str(file)})
    assert changed.gpus == (Gpu(0, "nvidia", "L4", 5, 4, (570, 1), (8, 9)),)
    assert changed.nvidia_toolkit


@pytest.mark.parametrize("node", ["", "/dev/null"])
def test_the_group_of_the_render_nodes(node: str) -> None:
    expected = Path(node).stat().st_gid if node else 0
    assert gpu_facts.render_group([Gpu(0, "amd", node=node), Gpu(1, "amd", node="/dev/dri/none")]) == expected
