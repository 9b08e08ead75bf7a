"""The koboldcpp image, built by Docker from a stand-in source: every stage but the source's own download.

The stand-in has the real Makefile's interface and a koboldcpp.py with the version's real flags that serves the protocol
double, so what is proven is the image's work: unpacking, building, collecting, packages, entrypoint, health, signals.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import sources
from tests.doubles.gguf import write_gguf
from tests.doubles.koboldcpp_source import write

pytestmark = pytest.mark.stack

CONTEXT = Path(__file__).resolve().parents[2] / "images" / "koboldcpp"
PACKAGED_BASE = "chatbot-debian:bookworm"
VERSIONS = {"cpu": "1.115.1", "cuda": "1.115.1", "vulkan": "1.115.1", "openblas": "1.74", "clblast": "1.106.2"}
#: NVIDIA's development image as far as the build looks at it: a driver stub to link with, and a library to take along.
CUDA_STAND_IN = """
FROM {base}
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \\
    && mkdir -p /usr/local/cuda/lib64/stubs && cd /usr/local/cuda/lib64 && echo 'int x;' > x.c \\
    && gcc -shared -fPIC x.c -o stubs/libcuda.so -Wl,-soname,libcuda.so.1 \\
    && gcc -shared -fPIC x.c -o libcudart.so.12 -Wl,-soname,libcudart.so.12 && ln -s libcudart.so.12 libcudart.so \\
    && echo /usr/local/cuda/lib64 > /etc/ld.so.conf.d/cuda.conf && ldconfig
"""
ASK = """
import json, urllib.request
body = json.dumps({"prompt": "Hi", "max_length": 8}).encode()
print(urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:5001/api/v1/generate", body)).read().decode())
"""


def docker(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DOCKER_BUILDKIT": "1"}
    result = subprocess.run(["docker", *words], capture_output=True, text=True, env=environment, timeout=900)
    assert not check or result.returncode == 0, f"docker {' '.join(words)}\n{result.stdout}\n{result.stderr}"
    return result


def base_image() -> str:
    packaged = docker("image", "inspect", PACKAGED_BASE, check=False).returncode == 0
    return PACKAGED_BASE if packaged else sources.official_base()


def build(folder: Path, backend: str, *, build_kind: str = "portable", top: str = "koboldcpp-1234", **more: str) -> str:
    """Build the image from the stand-in in a copy of the build context; the checkout's own stays untouched."""
    context = folder / "context"
    shutil.copytree(CONTEXT, context, ignore=shutil.ignore_patterns("__pycache__", "source.tar"))
    write(folder / "source", VERSIONS[backend])
    with tarfile.open(context / "source.tar", "w") as archive:
        archive.add(folder / "source", arcname=top)
    arguments = {
        "BASE_IMAGE": base_image(),
        "KOBOLDCPP_BACKEND": backend,
        "KOBOLDCPP_BUILD": build_kind,
        "KOBOLDCPP_SOURCE_KIND": "local",
        **more,
    }
    tag = f"chatbot-koboldcpp-test:{backend}-{build_kind}"
    options = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    docker("build", "--tag", tag, *options, str(context))
    return tag


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_gguf(folder / "tiny.gguf")
    (folder / "half.gguf").write_bytes(b"GGUF\x03\0\0\0")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def cpu_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tag = build(tmp_path_factory.mktemp("cpu"), "cpu")
    yield tag
    docker("image", "rm", "--force", tag)


def run_once(image: str, models: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    options = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    return docker("run", "--rm", "--volume", f"{models}:/models:ro", *options, image, *words, check=False)


def serve(image: str, models: Path) -> str:
    """Start the engine as compose does: nothing writable but /tmp, no capabilities."""
    hardened = ["--read-only", "--tmpfs", "/tmp:mode=1777,size=64m", "--cap-drop", "ALL"]
    hardened += ["--security-opt", "no-new-privileges:true", "--pids-limit", "200", "--memory", "1g"]
    volume = ["--volume", f"{models}:/models:ro", "--env", "MODEL=tiny.gguf", "--env", "CONTEXT_SIZE=1024"]
    return docker("run", "--detach", *hardened, *volume, image).stdout.strip()


def state(container: str) -> Any:
    return json.loads(docker("inspect", "--format", "{{json .State}}", container).stdout)


def wait_for_health(container: str, wanted: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while (found := state(container)["Health"])["Status"] != wanted:
        assert time.monotonic() < end, f"{found}\n{docker('logs', container, check=False).stderr}"
        time.sleep(0.5)


def prove_it_serves(image: str, models: Path) -> None:
    container = serve(image, models)
    try:
        wait_for_health(container, "healthy")
        answer = json.loads(docker("exec", container, "python3", "-c", ASK).stdout)
        assert answer["results"][0]["text"] == "Hello there."
        began = time.monotonic()
        docker("stop", "--time", "15", container)
        assert time.monotonic() - began < 5
        assert state(container)["ExitCode"] == 0
    finally:
        docker("rm", "--force", container)


def files(image: str) -> set[str]:
    found = docker("run", "--rm", "--entrypoint", "find", image, "/opt/koboldcpp", "-mindepth", "1", "-maxdepth", "1")
    return {Path(line).name for line in found.stdout.split()}


def test_cpu_image_serves_and_stops_at_once(cpu_image: str, models: Path) -> None:
    prove_it_serves(cpu_image, models)


def test_only_run_time_files_are_in_the_image(cpu_image: str) -> None:
    libraries = {f"koboldcpp_{kind}.so" for kind in ("default", "failsafe", "noavx2")}
    assert files(cpu_image) == {"koboldcpp.py", "build.json", "embd_res", "kcpp_adapters", "lib"} | libraries


def test_a_launch_line_of_2023_is_translated(cpu_image: str, models: Path) -> None:
    line = "python koboldcpp.py --threads 8 --smartcontext --unbantokens --useclblast 0 0 --gpulayers 32"
    result = run_once(cpu_image, models, "--print", MODEL="/models/tiny.gguf", LAUNCH_COMMAND=line)
    assert result.returncode == 0, result.stderr
    assert "--threads 8" in result.stdout and "--smartcontext" in result.stdout
    for gone in ("--unbantokens", "--useclblast", "--gpulayers"):
        assert gone not in result.stdout
        assert f"{gone} dropped" in result.stderr


@pytest.mark.parametrize(
    ("environment", "code", "message"),
    [
        ({"MODEL": "tiny.gguf", "KOBOLDCPP_ARGS": "--thraeds 4"}, 2, "did you mean --threads?"),
        ({"MODEL": "tiny.gguf", "KOBOLDCPP_ARGS": "--admin"}, 2, "--admin is not for"),
        ({"MODEL": "missing.gguf"}, 3, "it holds half.gguf, tiny.gguf"),
        ({"MODEL": "half.gguf"}, 3, "cut off"),
        ({"MODEL": "tiny.gguf", "CONTEXT_SIZE": "many"}, 2, "CONTEXT_SIZE=many"),
    ],
)
def test_a_bad_setting_ends_the_start(
    cpu_image: str, models: Path, environment: dict[str, str], code: int, message: str
) -> None:
    result = run_once(cpu_image, models, **environment)
    assert result.returncode == code
    assert message in result.stderr


@pytest.mark.long
@pytest.mark.parametrize("backend", ["openblas", "clblast", "vulkan"])
def test_other_backends_build_with_all_their_libraries(tmp_path: Path, models: Path, backend: str) -> None:
    tag = build(tmp_path, backend, top=".")  # a folder's own tar has no top folder
    try:
        assert f"koboldcpp_{backend}.so" in files(tag)
        prove_it_serves(tag, models)
    finally:
        docker("image", "rm", "--force", tag)


@pytest.mark.long
def test_a_native_build_makes_no_libraries_for_other_processors(tmp_path: Path) -> None:
    tag = build(tmp_path, "cpu", build_kind="native")
    try:
        assert {name for name in files(tag) if name.endswith(".so")} == {"koboldcpp_default.so"}
    finally:
        docker("image", "rm", "--force", tag)


@pytest.mark.long
def test_a_cuda_build_takes_its_libraries_along_but_not_the_driver(tmp_path: Path, models: Path) -> None:
    devel = tmp_path / "devel"
    devel.mkdir()
    (devel / "Dockerfile").write_text(CUDA_STAND_IN.format(base=base_image()))
    docker("build", "--tag", "chatbot-koboldcpp-test:devel", str(devel))
    tag = build(tmp_path, "cuda", CUDA_IMAGE="chatbot-koboldcpp-test:devel")
    try:
        assert "koboldcpp_cublas.so" in files(tag)
        assert docker("run", "--rm", "--entrypoint", "ls", tag, "/opt/koboldcpp/lib").stdout.split() == [
            "libcudart.so.12"
        ]
        printed = run_once(tag, models, "--print", MODEL="tiny.gguf", GPU_LAYERS="32")
        assert "--usecuda --gpulayers 32" in printed.stdout
    finally:
        docker("image", "rm", "--force", tag, "chatbot-koboldcpp-test:devel")
