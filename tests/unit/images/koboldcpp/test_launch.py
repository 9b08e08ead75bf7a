"""Settings and an operator's words become a command line that the installed version takes."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.koboldcpp.entrypoint.build import Build
from images.koboldcpp.entrypoint.flags import Policy
from images.koboldcpp.entrypoint.gguf import Head
from images.koboldcpp.entrypoint.launch import plan, read_request
from images.koboldcpp.entrypoint.model import Model
from images.koboldcpp.entrypoint.plan import Plan
from images.koboldcpp.entrypoint.refusal import RefusedError
from images.koboldcpp.entrypoint.settings import Settings
from tests.doubles.koboldcpp_source import VERSIONS, flag_rows, parser_source, table

BACKENDS = ("cpu", "openblas", "clblast", "cuda", "vulkan")
#: Each backend's pinned version, and every version with the cpu backend.
PINNED = {"cpu": "1.115.1", "cuda": "1.115.1", "vulkan": "1.115.1", "openblas": "1.74", "clblast": "1.106.2"}
GIB = 1 << 30
POLICY = Policy.load()
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
MODEL = Model(Path("/models/m.gguf"), 4 * GIB, HEAD)  # a 7B model: 2 GiB of context for 4096 tokens


def make(
    words: str | Sequence[str] = "",
    *,
    backend: str = "cpu",
    version: str | None = None,
    model: Model = MODEL,
    memory: int = 64 * GIB,
    **environment: str,
) -> Plan:
    build = Build.from_json(table(version or PINNED[backend], backend))
    settings = Settings.read({"MODEL": "m.gguf", "THREADS": "4", **environment})
    if not isinstance(words, str):
        settings = Settings(**{**vars(settings), "words": tuple(words)})
    elif words:
        settings = Settings.read({"MODEL": "m.gguf", "THREADS": "4", "KOBOLDCPP_ARGS": words, **environment})
    return plan(settings, build, read_request(settings, build, POLICY), model, memory)


def parse(version: str, words: Sequence[str]) -> argparse.Namespace:
    """Let the version's own parser judge the words; it ends the program over a word that it does not take."""
    names: dict[str, Any] = {}
    exec(parser_source(version), names)
    parser: argparse.ArgumentParser = names["parser"]
    parser.allow_abbrev = False
    with contextlib.redirect_stderr(io.StringIO()) as complaint:
        try:
            return parser.parse_args(list(words))
        except SystemExit:
            raise AssertionError(f"koboldcpp {version} does not take {words}: {complaint.getvalue()}") from None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("slots", ["1", "4"])
def test_every_version_takes_what_is_made_of_settings_alone(version: str, backend: str, slots: str) -> None:
    if backend == "clblast" and version == "1.115.1":  # the image's build already fails for it
        with pytest.raises(RefusedError, match="has no --useclblast"):
            make(backend=backend, version=version)
        return
    result = make(backend=backend, version=version, ENGINE_SLOTS=slots, GPU_LAYERS="33")
    taken = parse(version, result.words)
    assert (taken.host, taken.port, taken.threads) == ("0.0.0.0", 5001, 4)
    batched = taken.parallelrequests if "--parallelrequests" in result.words else 1
    assert taken.contextsize == 4096 * batched
    assert taken.quiet and taken.skiplauncher
    assert not result.warnings
    if backend in ("cuda", "vulkan", "clblast"):
        assert taken.gpulayers == 33
        assert "--usecpu" not in result.words


@pytest.mark.parametrize(
    ("backend", "version", "slots", "expected"),
    [
        ("cpu", "1.115.1", "1", ["--smartcache", "6"]),
        ("cpu", "1.115.1", "8", ["--smartcache", "8"]),
        ("cpu", "1.115.1", "32", ["--smartcache", "12"]),
        ("cpu", "1.76", "4", []),
        ("openblas", "1.74", "4", []),
        ("cuda", "1.115.1", "4", ["--parallelrequests", "4"]),
        ("vulkan", "1.115.1", "4", ["--parallelrequests", "4"]),
        ("vulkan", "1.115.1", "9", ["--parallelrequests", "4"]),  # the model was trained with 4 times CONTEXT_SIZE
        ("cuda", "1.115.1", "1", ["--smartcache", "6"]),
        ("clblast", "1.106.2", "4", ["--smartcache", "6"]),
    ],
)
def test_the_prompt_cache_is_chosen_by_backend_version_and_slots(
    backend: str, version: str, slots: str, expected: list[str]
) -> None:
    words = make(backend=backend, version=version, ENGINE_SLOTS=slots).words
    cache = [word for word in words if word in ("--smartcache", "--parallelrequests")]
    assert cache == expected[:1]
    if expected:
        position = words.index(expected[0])
        assert words[position : position + 2] == expected


def test_the_cache_takes_no_more_memory_than_there_is() -> None:
    assert "--smartcache 2" in " ".join(make(memory=11 * GIB).words)  # 4 weights, 0.5 program, 3 x 2 contexts
    tight = make(memory=10 * GIB)
    assert "--smartcache" not in tight.words
    assert "ENGINE_MEMORY" in tight.warnings[0]


def test_slots_that_are_batched_share_a_context_that_holds_them_all() -> None:
    words = " ".join(make(backend="cuda", ENGINE_SLOTS="3").words)
    assert "--contextsize 12288 --parallelrequests 3" in words
    own = make("--parallelrequests 3", backend="cuda", ENGINE_SLOTS="3")
    assert "--contextsize 4096" in " ".join(own.words)
    assert "share one context" in own.warnings[0]


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_an_old_format_has_no_cache_to_keep(backend: str) -> None:
    words = make(backend=backend, model=Model(Path("/models/m.bin"), GIB, None), ENGINE_SLOTS="4").words
    assert not {"--smartcache", "--parallelrequests"} & set(words)


OLD_LINES = [
    "python koboldcpp.py --smartcontext --unbantokens /models/m.gguf",
    "python koboldcpp.py --threads 8 --smartcontext --unbantokens",
    "python3 ./koboldcpp.py --useclblast 0 0 --gpulayers 32 --threads 8 m.gguf",
    "koboldcpp.exe --usecublas normal 0 mmq --gpulayers 20 --blasbatchsize 1024 --highpriority",
    "--threads 8 --useclblast 0 0 --usemirostat 2 5.0 0.1",
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("line", OLD_LINES)
def test_launch_lines_of_2023_still_start(backend: str, line: str) -> None:
    result = make(backend=backend, LAUNCH_COMMAND=line)
    taken = parse(PINNED[backend], result.words)
    assert taken.threads == (8 if "--threads 8" in line else 4)
    assert "--unbantokens" not in result.words
    assert ("--unbantokens" in line) == any("--unbantokens dropped" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("backend", "words", "there", "warned"),
    [
        ("cpu", "--useclblast 0 0 --gpulayers 32", [], ["--useclblast dropped", "--gpulayers dropped"]),
        ("cuda", "--useclblast 0 0 --gpulayers 32", ["--usecuda", "--gpulayers 32"], ["--useclblast became --usecuda"]),
        ("vulkan", "--useclblast 1 0", ["--usevulkan"], ["--useclblast became --usevulkan"]),
        ("clblast", "--useclblast 1 0", ["--useclblast 1 0"], []),
        ("clblast", "", ["--useclblast 0 0", "--gpulayers -1"], []),
        ("cuda", "--usecublas normal 0 mmq", ["--usecuda normal 0 mmq"], []),
        ("vulkan", "--usecublas", ["--usevulkan"], ["became --usevulkan"]),
        ("cuda", "--usecpu --gpulayers 5", ["--usecpu"], ["--gpulayers dropped"]),
        ("openblas", "--noblas", ["--noblas"], []),
        ("cpu", "--noblas", [], ["--noblas dropped"]),
    ],
)
def test_backends_follow_what_was_built(backend: str, words: str, there: list[str], warned: list[str]) -> None:
    result = make(words, backend=backend)
    parse(PINNED[backend], result.words)
    line = " ".join(result.words) + " "
    for part in there:
        assert f"{part} " in line
    for part in warned:
        assert any(part in warning for warning in result.warnings)
    if not warned:
        assert not result.warnings


def test_a_renamed_flag_is_used_under_the_name_that_there_is() -> None:
    assert "--blasbatchsize 1024" in " ".join(make("--batchsize 1024", version="1.76").words)
    assert "--batchsize 1024" in " ".join(make("--blasbatchsize 1024", version="1.115.1").words)
    assert "--usecublas" in make(backend="cuda", version="1.76").words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--contxtsize 4096", r"has no flag --contxtsize; did you mean --contextsize\?"),
        ("--nothinglikeit", r"has no flag --nothinglikeit$"),
        ("--port 80", "--port is not for KOBOLDCPP_ARGS"),
        ("--admin", "can load other models"),
        ("--config x.kcpps", "override everything"),
        ("--remotetunnel", "past the proxy"),
        ("--onready 'rm -rf /'", "shell command"),
        ("--threads many", "--threads many: --threads takes a value of type int"),
        ("--threads", "--threads needs 1 value, got 0"),
        ("--threads=", "--threads : --threads takes"),
        ("--quiet=yes", "takes no value"),
        ("--quantkv 9", "--quantkv takes f16"),
        ("--contextsize 2048", "set CONTEXT_SIZE=2048 in .env"),
        ("--smartcache 4 --parallelrequests 2", "crash"),
        ("--contbatch 2 --smartcache", "crash"),
        ("m.gguf 5001", "'5001' stands alone"),
    ],
)
def test_what_cannot_be_is_refused_by_name(words: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as refusal:
        make(words)
    assert refusal.value.exit_code == 2


def test_the_operators_own_flags_win_and_pass_through() -> None:
    words = " ".join(make("--threads 6 --smartcache 3 --quantkv q8_0 -ngl 3 --ropeconfig 0.5 10000").words)
    assert "--threads 6" in words and "--threads 4" not in words
    assert words.count("--smartcache") == 1 and "--smartcache 3" in words
    assert "--quantkv q8_0" in words and "--ropeconfig 0.5 10000" in words
    assert "--parallelrequests" not in " ".join(make("--smartcache", backend="cuda", ENGINE_SLOTS="4").words)


def test_later_words_win_and_both_variables_are_read() -> None:
    words = " ".join(make("--threads 3", LAUNCH_COMMAND="python koboldcpp.py --threads 8 --noavx2").words)
    assert "--threads 3" in words and "--threads 8" not in words and "--noavx2" in words


def test_a_launch_lines_other_model_is_named() -> None:
    assert "not used: MODEL=m.gguf" in make(LAUNCH_COMMAND="koboldcpp.py other.bin").warnings[0]
    assert not make(LAUNCH_COMMAND="koboldcpp.py --model /old/place/m.gguf").warnings


ANY_NAME = st.sampled_from(
    sorted({name for row in flag_rows() for name in row.names} | set(POLICY.gone) | set(POLICY.refused))
)
HARMLESS = st.sampled_from(
    sorted({row.names[0] for row in flag_rows()} - set(POLICY.refused) - {"--usemmap", "--model", "--contextsize"})
)
VALUE = st.sampled_from(["0", "1", "2", "-1", "512", "0.5", "q8_0", "f16", "all", "mmq", "x.gguf", "", "-", "--"])
WORDS = st.lists(st.one_of(HARMLESS, HARMLESS, ANY_NAME, VALUE, VALUE, st.text(max_size=5)), max_size=8)


@given(
    words=WORDS,
    backend=st.sampled_from(BACKENDS),
    version=st.sampled_from(VERSIONS),
    slots=st.integers(1, 32),
    memory=st.integers(0, 64 * GIB),
)
def test_no_words_lead_to_an_unknown_flag_or_to_both_caches(
    words: list[str], backend: str, version: str, slots: int, memory: int
) -> None:
    try:
        result = make(words, backend=backend, version=version, memory=memory, ENGINE_SLOTS=str(slots))
    except RefusedError:
        return
    build = Build.from_json(table(version, backend))
    names = {flag.names for word in result.words if (flag := build.find(word))}
    both = {name for group in names for name in group} & {"--smartcache", "--parallelrequests"}
    assert len(both) < 2
    parse(version, result.words)
