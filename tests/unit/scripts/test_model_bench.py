"""`make bench-model`: rounds and medians, the table, comparing, the plot, and what the figures belong to."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import bench_here, bench_machine, model_bench
from scripts.lib.failure import Failure

ROOT = Path(__file__).resolve().parents[3]
SIDE = {
    "read": 438.0,
    "generated": 113.0,
    "cold": 1.68,
    "warm": 0.08,
    "visitors": {
        "1": {"together": 80.0, "first": 1.68, "slowest": 1.68},
        "4": {"together": 142.0, "first": 3.1, "slowest": 6.2},
        "8": {"together": 160.0, "first": 6.4, "slowest": 12.5},
    },
}


def run(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "schema": model_bench.SCHEMA,
        "date": "2026-11-22 01:00",
        "machine": {
            "cpu": "AMD EPYC",
            "cores": 2,
            "cpus": 4,
            "memory": 8 << 30,
            "bandwidth": 12_500_000_000,
            "system": "Debian GNU/Linux 12",
        },
        "engine": {"name": "llamacpp", "version": "2026.10.11549"},
        "model": {"name": "SmolLM2-135M-Instruct.Q4_1", "size": 98362432, "quantisation": "Q4_1"},
        "settings": {"THREADS": "2", "BATCH": "64"},
        "load": model_bench.Load(256, 64, 3).as_json(),
        "memory": {"engine": 500 << 20, "all": 1500 << 20},
        "results": {"engine": copy.deepcopy(SIDE), "stack": {**copy.deepcopy(SIDE), "generated": 112.2, "cold": 1.79}},
    }
    return {**made, **changes}


def test_engine_and_appliance_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def side(name: str, values: list[float]) -> model_bench.Visit:
        def visit() -> dict[str, Any]:
            order.append(name)
            return {**SIDE, "read": values.pop(0)}

        return visit

    told: list[str] = []
    engine, stack = side("engine", [1.0, 400.0, 500.0, 300.0]), side("stack", [1.0, 390.0, 480.0, 290.0])
    rounds = model_bench.measure(engine, stack, 3, told.append)
    assert order == ["stack", "engine", "engine", "stack", "stack", "engine", "engine", "stack"]
    assert [one["engine"]["read"] for one in rounds] == [400.0, 500.0, 300.0]
    assert len(told) == 4 and told[0].startswith("warming up")
    found = model_bench.medians(rounds)
    assert (found["engine"]["read"], found["stack"]["read"]) == (400.0, 390.0)
    assert found["stack"]["visitors"]["8"]["slowest"] == 12.5


def test_the_table_has_both_sides_and_those_of_another_run() -> None:
    lines = model_bench.table(run())
    answer = next(line for line in lines if line.startswith("answer, one visitor"))
    assert answer.split()[3:5] == ["113.0", "112.2"]
    assert any(line.split()[-4:] == ["500.0", "MB", "1.5", "GB"] for line in lines)
    other = run()
    del other["results"]["stack"]["visitors"]["8"]
    wider = model_bench.table(run(), other)
    assert len(wider) == len(lines)
    eight = next(line for line in wider if line.startswith("all answers, 8"))
    assert eight.split()[5:9] == ["160.0", "160.0", "160.0", "-"]


def test_what_cannot_be_compared_is_refused_or_told(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(json.dumps(run()))
    assert model_bench.load_other(str(file))["schema"] == model_bench.SCHEMA
    assert model_bench.differences(run(), run()) == []
    other = run(load=model_bench.Load(512, 64, 3).as_json(), model={**run()["model"], "name": "other"})
    assert len(model_bench.differences(run(), other)) == 2
    for text, finding in [
        ("{}", "bench.compare_unreadable"),
        ('{"schema": 99}', "bench.compare_schema"),
        ('{"schema": 1}', "bench.compare_unreadable"),
        (json.dumps(run(results=[])), "bench.compare_unreadable"),
        (json.dumps(run(memory=None)), "bench.compare_unreadable"),
    ]:
        file.write_text(text)
        with pytest.raises(Failure) as refused:
            model_bench.load_other(str(file))
        assert refused.value.id == finding


def test_one_run_and_two_are_drawn_as_png_and_svg(tmp_path: Path) -> None:
    runs = json.dumps([run(), run(engine={"name": "koboldcpp", "version": "1.115.1"})])
    plot = ROOT / "images" / "bench" / "plot.py"
    words = [sys.executable, str(plot), str(tmp_path / "out")]
    subprocess.run(words, input=runs, text=True, check=True, timeout=60, capture_output=True)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "out.svg").read_text()
    for text in ("engine alone", "whole stack", "stack, compared", "AMD EPYC", "1.115.1", "visitors at once"):
        assert text in drawn


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("mistral-7b-instruct-v0.3.Q4_K_M.gguf", "Q4_K_M"),
        ("Llama-3-IQ2_XS.gguf", "IQ2_XS"),
        ("tiny-f16.gguf", "F16"),
        ("model.gguf", "unknown"),
        ("Metharme-7b-4bit-Q4_1-GGML-V2.bin", "Q4_1"),
    ],
)
def test_the_quantisation_is_read_off_the_file_s_name(file: str, name: str) -> None:
    assert bench_here.quantisation(file) == name


def test_a_process_is_found_by_its_port_and_its_memory_counted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert bench_machine.listener(server.getsockname()[1]) == os.getpid()
    assert bench_machine.listener(1) is None
    assert bench_machine.memory_of([os.getpid()]) > 10 << 20
    assert bench_machine.memory_of([0]) == 0
    with subprocess.Popen(["sleep", "5"]) as child:
        family = bench_machine.family(child.pid)
        assert family[0] == os.getpid() and child.pid in family
        child.kill()


def test_the_machine_is_described() -> None:
    found = bench_machine.machine()
    assert 1 <= int(found["cores"]) <= int(found["cpus"])
    assert float(found["bandwidth"]) > 1e8 and found["cpu"]
