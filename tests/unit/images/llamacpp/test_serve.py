"""The environment becomes llama.cpp's parameters, or a line that names what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import xllamacpp

from images.llamacpp import serve


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + bytes(20))
    return str(path)


def make(file: str, **environment: str) -> xllamacpp.CommonParams:
    return serve.parameters({"MODEL": file, **environment})


def test_a_processor_reads_prompts_in_small_batches_and_a_card_in_large_ones(file: str) -> None:
    for environment, batches in [
        ({}, (64, 64)),
        ({"BATCH": "auto"}, (64, 64)),
        ({"BATCH": "256"}, (256, 256)),
        ({"MMPROJ": file}, (512, 512)),
        ({"MMPROJ": file, "BATCH": "128"}, (128, 128)),
        ({"GPU_LAYERS": "-1"}, (2048, 512)),
        ({"GPU_LAYERS": "10", "BATCH": "1024"}, (2048, 1024)),
        ({"GPU_LAYERS": "10", "BATCH": "4096"}, (4096, 4096)),
    ]:
        params = make(file, **environment)
        assert (params.n_batch, params.n_ubatch) == batches, environment


def test_weights_are_mapped_and_locked_as_asked(file: str) -> None:
    modes = xllamacpp.llama_load_mode
    for environment, mode in [
        ({}, modes.LLAMA_LOAD_MODE_MMAP),
        ({"MLOCK": "on"}, modes.LLAMA_LOAD_MODE_MMAP_MLOCK),
        ({"MMAP": "off"}, modes.LLAMA_LOAD_MODE_NONE),
        ({"MMAP": "off", "MLOCK": "on"}, modes.LLAMA_LOAD_MODE_MLOCK),
    ]:
        assert make(file, **environment).load_mode == mode.value, environment


def test_projector_adapters_and_cards_reach_the_engine(file: str) -> None:
    params = make(file, MMPROJ=file, LORA=f"{file}, {file}:0.5", TENSOR_SPLIT="3,1", PROMPT_CACHE_MIB="99")
    assert params.mmproj.path == file and not params.mmproj_use_gpu
    assert [(lora.path, lora.scale) for lora in params.lora_adapters] == [(file, 1.0), (file, 0.5)]
    assert list(params.tensor_split)[:3] == [3.0, 1.0, 0.0]
    assert params.cache_ram_mib == 99
    assert make(file, MMPROJ=file, GPU_LAYERS="-1").mmproj_use_gpu
    assert not any(make(file, TENSOR_SPLIT="auto").tensor_split)


def test_cards_are_numbered_as_nvidia_smi_does() -> None:
    environment = {"GPU_DEVICES": "0,2"}
    serve.choose_cards(environment)
    assert environment["CUDA_VISIBLE_DEVICES"] == environment["GGML_VK_VISIBLE_DEVICES"] == "0,2"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    everything = {"GPU_DEVICES": "all"}
    serve.choose_cards(everything)
    assert everything == {"GPU_DEVICES": "all"}


def test_threads_are_the_cores_that_the_container_may_use(tmp_path: Path) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    assert serve.cores(tmp_path) == len(allowed)
    group = tmp_path / "fs" / "cgroup" / "cpu.max"
    group.parent.mkdir(parents=True)
    for text, threads in [
        ("max 100000", len(allowed)),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("9900000 100000", len(allowed)),
    ]:
        group.write_text(f"{text}\n")
        assert serve.cores(tmp_path) == threads, text
    for cpu in allowed:  # all of them share one core
        file = tmp_path / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        file.parent.mkdir(parents=True)
        file.write_text(f"{allowed[0]}-{allowed[-1]}\n")
    assert serve.cores(tmp_path) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCH", "8"),
        ("BATCH", "big"),
        ("MLOCK", "yes"),
        ("MMAP", "1"),
        ("PROMPT_CACHE_MIB", "-1"),
        ("MMPROJ", "/none.gguf"),
        ("LORA", "/none.gguf:0.5"),
        ("LORA", "a.gguf:strong"),
        ("LORA", "a.gguf:inf"),
        ("LORA", "a,,b"),
        ("TENSOR_SPLIT", "3;1"),
        ("TENSOR_SPLIT", "0,0"),
        ("TENSOR_SPLIT", "-1,2"),
        ("TENSOR_SPLIT", ",".join("1" * 129)),
        ("GPU_DEVICES", "first"),
        ("GPU_DEVICES", "1,01"),
    ],
)
def test_a_bad_value_names_its_variable(file: str, name: str, value: str, capfd: pytest.CaptureFixture[str]) -> None:
    environment = {"MODEL": file, name: value}
    with pytest.raises(SystemExit) as end:
        serve.choose_cards(environment)
        serve.parameters(environment)
    assert end.value.code == 2
    assert capfd.readouterr().err.startswith(f"llamacpp: {name}=")
