"""Batch, loading, vision, adapters and cards: each variable becomes the flag that backend and version know."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from images.koboldcpp.entrypoint.build import Build
from images.koboldcpp.entrypoint.flags import Policy
from images.koboldcpp.entrypoint.gguf import Head
from images.koboldcpp.entrypoint.launch import plan, read_request
from images.koboldcpp.entrypoint.model import Model, located
from images.koboldcpp.entrypoint.plan import Plan
from images.koboldcpp.entrypoint.refusal import RefusedError
from images.koboldcpp.entrypoint.settings import Lora, Settings
from tests.doubles.koboldcpp_source import VERSIONS, parser_source, table

BACKENDS = ("cpu", "openblas", "clblast", "cuda", "vulkan")
GPUS = ("clblast", "cuda", "vulkan")
#: Every pair that there is: CLBlast left after 1.106.
BUILDS = [(b, v) for b in BACKENDS for v in VERSIONS if (b, v) != ("clblast", "1.115.1")]
GIB = 1 << 30
HEAD = Head(
    {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.context_length": 16_384,
        "llama.embedding_length": 4096,
        "llama.attention.head_count": 32,
    },
    0,
)
MODEL = Model(Path("/models/m.gguf"), 4 * GIB, HEAD)  # 2 GiB of context for 4096 tokens


def make(backend: str = "cpu", version: str = "1.115.1", **environment: str) -> Plan:
    build = Build.from_json(table(version, backend))
    settings = Settings.read({"MODEL": "m.gguf", "THREADS": "4", **environment})
    return plan(settings, build, read_request(settings, build, Policy.load()), MODEL, 64 * GIB)


def parse(version: str, words: Sequence[str]) -> argparse.Namespace:
    """What the version's own parser makes of the words."""
    names: dict[str, Any] = {}
    exec(parser_source(version), names)
    parser: argparse.ArgumentParser = names["parser"]
    with contextlib.redirect_stderr(io.StringIO()) as complaint:
        try:
            return parser.parse_args(list(words))
        except SystemExit:
            raise AssertionError(f"koboldcpp {version} does not take {words}: {complaint.getvalue()}") from None


@pytest.mark.parametrize(("backend", "version"), BUILDS)
def test_every_build_takes_all_of_them_at_once(backend: str, version: str) -> None:
    result = make(
        backend,
        version,
        BATCH="256",
        MLOCK="on",
        MMAP="on",
        PROMPT_CACHE_MIB="8192",
        MMPROJ="/models/mmproj.gguf",
        LORA="/models/a.gguf",
        TENSOR_SPLIT="3,1",
        GPU_DEVICES="1",
        ENGINE_SLOTS="2",
    )
    taken = parse(version, result.words)
    assert (taken.batchsize if "--batchsize" in result.words else taken.blasbatchsize) == 256
    assert taken.usemlock
    assert taken.mmproj == "/models/mmproj.gguf"
    assert taken.lora == ["/models/a.gguf"]
    assert not {"--nommap", "--loramult"} & set(result.words)
    assert ("--usemmap" in result.words) == (version in ("1.106.2", "1.115.1"))
    assert not {"--smartcache", "--parallelrequests"} <= set(result.words)
    split = backend in ("cuda", "vulkan")
    assert taken.tensor_split == ([3.0, 1.0] if split else None)
    assert any("TENSOR_SPLIT dropped" in warning for warning in result.warnings) != split
    assert any("GPU_DEVICES dropped" in warning for warning in result.warnings) == (backend not in GPUS)


@pytest.mark.parametrize(("backend", "version"), BUILDS)
def test_nothing_is_added_where_nothing_is_asked(backend: str, version: str) -> None:
    untouched = make(backend, version)
    words = make(
        backend, version, BATCH="auto", MLOCK="off", MMPROJ="", LORA="", TENSOR_SPLIT="auto", GPU_DEVICES="all"
    )
    assert words == untouched
    assert not {"--usemmap", "--nommap", "--usemlock", "--lora", "--mmproj", "--tensor_split"} & set(words.words)


@pytest.mark.parametrize("version", VERSIONS)
def test_weights_are_read_without_mmap_in_each_versions_own_words(version: str) -> None:
    words = make(version=version, MMAP="off").words
    assert ("--nommap" in words) == (version in ("1.74", "1.76"))
    assert "--usemmap" not in words
    parse(version, words)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_batch_that_the_version_does_not_take_is_refused(version: str) -> None:
    with pytest.raises(RefusedError, match=r"^BATCH=100: koboldcpp .* takes (16, )?32, 64"):
        make(version=version, BATCH="100")
    if version in ("1.74", "1.76"):
        with pytest.raises(RefusedError, match=r"^BATCH=4096"):
            make(version=version, BATCH="4096")


@pytest.mark.parametrize(
    ("backend", "version", "devices", "line", "environment"),
    [
        ("cuda", "1.115.1", "0", "--usecuda --gpulayers", "0"),
        ("cuda", "1.115.1", "0,2,7", "--usecuda --gpulayers", "0,2,7"),
        ("cuda", "1.76", "1", "--usecublas --gpulayers", "1"),
        ("vulkan", "1.115.1", "0,2", "--usevulkan 0 2 --gpulayers", ""),
        ("vulkan", "1.74", "1", "--usevulkan 1 --gpulayers", ""),
        ("clblast", "1.106.2", "1", "--useclblast 0 1 --gpulayers", ""),
        ("clblast", "1.74", "all", "--useclblast 0 0 --gpulayers", ""),
        ("cuda", "1.115.1", "all", "--usecuda --gpulayers", ""),
    ],
)
def test_cards_are_chosen_as_each_backend_takes_them(
    backend: str, version: str, devices: str, line: str, environment: str
) -> None:
    result = make(backend, version, GPU_DEVICES=devices)
    parse(version, result.words)
    assert line in " ".join(result.words)
    assert result.environment.get("CUDA_VISIBLE_DEVICES", "") == environment
    assert ("CUDA_DEVICE_ORDER" in result.environment) == bool(environment)
    assert not result.warnings


def test_clblast_computes_on_one_card() -> None:
    for devices in ("0,1", "9"):
        with pytest.raises(RefusedError, match=f"GPU_DEVICES={devices}: clblast takes one card"):
            make("clblast", "1.106.2", GPU_DEVICES=devices)


def test_an_adapter_is_applied_as_strongly_as_asked() -> None:
    assert "--lora /models/a.gguf --loramult 0.5" in " ".join(make(LORA="/models/a.gguf:0.5").words)
    with pytest.raises(RefusedError, match=r"LORA=/models/a\.gguf:0\.5: koboldcpp 1\.76 applies"):
        make(version="1.76", LORA="/models/a.gguf:0.5")
    with pytest.raises(RefusedError, match="LORA names 2 adapters, and koboldcpp applies one"):
        make(LORA="/models/a.gguf,/models/b.gguf:0.3")


def test_the_operators_own_flags_win_over_the_variables() -> None:
    own = "--blasbatchsize 1024 --nommap --usemlock --lora x.gguf --loramult 0.7 --mmproj y.gguf"
    result = make(KOBOLDCPP_ARGS=own, BATCH="64", MMAP="on", MLOCK="on", LORA="a.gguf:0.2", MMPROJ="b.gguf")
    line = " ".join(result.words)
    parse("1.115.1", result.words)
    assert "--batchsize 1024" in line and line.count("batchsize") == 1
    assert line.count("--usemlock") == 1 and "--usemmap" not in line
    assert "--lora x.gguf" in line and "--mmproj y.gguf" in line and "0.2" not in line
    assert [warning.split()[0] for warning in result.warnings if "is not used" in warning] == ["MMPROJ", "LORA"]
    card = make("cuda", KOBOLDCPP_ARGS="--usecuda normal 1", GPU_DEVICES="0")
    assert "--usecuda normal 1" in " ".join(card.words) and not card.environment
    assert "GPU_DEVICES is not used" in card.warnings[0]


@pytest.mark.parametrize(("mib", "kept"), [("0", None), ("2048", None), ("4096", "2"), ("12288", "6"), ("99999", "12")])
def test_as_many_conversations_are_kept_as_the_prompt_cache_holds(mib: str, kept: str | None) -> None:
    result = make(PROMPT_CACHE_MIB=mib)
    assert ("--smartcache" in result.words) == (kept is not None)
    if kept:
        assert result.words[result.words.index("--smartcache") + 1] == kept
    # A cache that was switched off is no surprise; one that holds nothing is.
    assert bool(result.warnings) == (mib == "2048")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCH", "8"),
        ("BATCH", "big"),
        ("MLOCK", "yes"),
        ("MMAP", "1"),
        ("PROMPT_CACHE_MIB", "-1"),
        ("LORA", "a.gguf:strong"),
        ("LORA", "a.gguf:nan"),
        ("LORA", "a.gguf,,b.gguf"),
        ("LORA", ":0.5"),
        ("TENSOR_SPLIT", "3;1"),
        ("TENSOR_SPLIT", "0,0"),
        ("TENSOR_SPLIT", "-1,2"),
        ("TENSOR_SPLIT", ",".join("1" * 17)),
        ("GPU_DEVICES", "first"),
        ("GPU_DEVICES", "0,0"),
        ("GPU_DEVICES", "0,,1"),
    ],
)
def test_a_bad_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(RefusedError, match=f"^{name}=") as refusal:
        make(**{name: value})
    assert refusal.value.exit_code == 2


def test_attached_files_are_found_by_name_and_looked_at(tmp_path: Path) -> None:
    (tmp_path / "eye.gguf").write_bytes(b"GGUF" + bytes(20))
    (tmp_path / "page.gguf").write_bytes(b"<html>")
    given = Settings.read({"MMPROJ": "eye.gguf", "LORA": f"{tmp_path / 'eye.gguf'}:0.5"})
    found = located(given, tmp_path)
    assert found.projector == str(tmp_path / "eye.gguf")
    assert found.loras == (Lora(str(tmp_path / "eye.gguf"), 0.5),)
    for variable, name, words in [
        ("MMPROJ", "page.gguf", "is no GGUF file"),
        ("MMPROJ", "none.gguf", "does not exist"),
        ("LORA", "page.gguf", "is no GGUF file"),
    ]:
        with pytest.raises(RefusedError, match=f"{variable}={name}: .*{words}") as refusal:
            located(Settings.read({variable: name}), tmp_path)
        assert refusal.value.exit_code == 3
