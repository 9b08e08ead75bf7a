"""Memory of the idle appliance and sizes of its images, read from the running Docker engine.

Memory is what `docker stats` calls usage: the control group's, less the file cache that the kernel gives back at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import time

from scripts.lib.observed import bytes_of

MIB = 2**20
GOALS = {"stack without the engine": 1200 * MIB, "without embeddings either": 700 * MIB}
SAMPLES = 5


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def _services(project: str) -> dict[str, str]:
    """container id -> service name, for what runs now."""
    label = "com.docker.compose"
    form = f'{{{{.ID}}}} {{{{.Label "{label}.service"}}}}'
    lines = _docker("ps", "--no-trunc", "--filter", f"label={label}.project={project}", "--format", form).splitlines()
    return dict(line.split() for line in lines)


def memory(project: str) -> dict[str, int]:
    """service -> median of a few samples, in bytes."""
    services = _services(project)
    if not services:
        raise SystemExit(f"no running appliance of project {project!r}: run `make up` first")
    samples: dict[str, list[int]] = {name: [] for name in services.values()}
    for _ in range(SAMPLES):
        for line in _docker("stats", "--no-stream", "--no-trunc", "--format", "{{json .}}", *services).splitlines():
            row = json.loads(line)
            samples[services[row["ID"]]].append(bytes_of(row["MemUsage"].split(" / ")[0]))
        time.sleep(0.5)
    return {name: sorted(values)[len(values) // 2] for name, values in samples.items()}


def images() -> dict[str, int]:
    """image -> size in bytes, layers shared with the base counted in each."""
    rows = _docker("images", "--format", "{{.Repository}}", "--filter", "reference=chatbot-*:local").split()
    return {name: int(_docker("image", "inspect", f"{name}:local", "--format", "{{.Size}}")) for name in sorted(rows)}


def run() -> None:
    used = memory(os.environ.get("COMPOSE_PROJECT_NAME") or "chatbot")
    print("idle memory per service")
    for name, size in sorted(used.items(), key=lambda item: -item[1]):
        print(f"  {name:<28}{size / MIB:8.0f} MiB")
    without_engine = sum(size for name, size in used.items() if name != "engine")
    sums = {
        "stack without the engine": without_engine,
        "without embeddings either": without_engine - used.get("embeddings", 0),
    }
    for name, size in sums.items():
        print(f"  {name:<28}{size / MIB:8.0f} MiB   goal <= {GOALS[name] / MIB:.0f} MiB")
    print("image sizes (10^6 bytes, as `docker images` counts)")
    for name, size in images().items():
        print(f"  {name:<28}{size / 1e6:8.0f} MB")


if __name__ == "__main__":
    run()
