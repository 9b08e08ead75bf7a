"""A model file is looked at before koboldcpp is started on it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.koboldcpp.entrypoint import gguf, model
from images.koboldcpp.entrypoint.refusal import BAD_MODEL, RefusedError
from tests.doubles.gguf import write_gguf


def test_a_model_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    assert model.find("m.gguf", tmp_path) == model.find(str(path), tmp_path) == path


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "MODEL is not set"), ("x.gguf", "does not exist.*it holds m.gguf"), ("sub", "is a folder")],
)
def test_a_missing_model_says_what_is_there(tmp_path: Path, name: str, message: str) -> None:
    write_gguf(tmp_path / "m.gguf")
    (tmp_path / "sub").mkdir()
    with pytest.raises(RefusedError, match=message) as refusal:
        model.find(name, tmp_path)
    assert refusal.value.exit_code == BAD_MODEL


def test_an_empty_models_folder_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="it is empty"):
        model.find("m.gguf", tmp_path)


def test_a_whole_gguf_passes_and_tells_its_contexts_memory(tmp_path: Path) -> None:
    found = model.check(write_gguf(tmp_path / "m.gguf"))
    assert found.head is not None
    assert found.head.context_bytes(4096) == 4096 * 32 * 8 * (128 + 128) * 2
    assert gguf.Head({}, 0).context_bytes(4096) is None


def test_a_word_where_a_number_should_be_is_no_number() -> None:
    plain = {"general.architecture": "llama", "llama.block_count": 2, "llama.embedding_length": 64}
    values: dict[str, gguf.Value] = {**plain, "llama.attention.head_count": 8, "llama.attention.head_count_kv": "many"}
    assert gguf.Head(values, 0).context_bytes(1) == 2 * 8 * (8 + 8) * 2


def test_a_list_of_fractions_is_passed_over(tmp_path: Path) -> None:
    field = struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ2f", 9, 6, 2, float("nan"), float("inf"))
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + field)
    assert gguf.read_head(path).values == {"a": 2}


@pytest.mark.parametrize("magic", [b"lmgg", b"fmgg", b"tjgg"])
def test_formats_before_gguf_pass(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "Metharme-7b-4bit-Q4_1-GGML-V2.bin"
    path.write_bytes(magic + bytes(2_000_000))
    assert model.check(path).head is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither GGUF nor GGML"),
        (b"<!doctype html>", "web page"),
        (b"tjgg" + bytes(100), "cut off"),
        (b"algg" + bytes(100), "LoRA"),
        (b"GGUF", "ends inside its head"),
        (b"GGUF\x01\0\0\0", "version 1"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 16, "damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 17), "damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 18, 0), "damaged"),
        (b"GGUF" + struct.pack("<IQQQI", 3, 0, 1, 0, 9) + struct.pack("<IQ", 9, 1) * 5000, "damaged"),
        (b"GGUF" + struct.pack("<IQQQIIQ", 3, 0, 1, 0, 9, 8, 1 << 23), "damaged"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=message):
        model.check(path)


@given(part=st.floats(0, 1, exclude_max=True))
def test_a_half_download_is_never_taken_for_a_whole_one(tmp_path_factory: pytest.TempPathFactory, part: float) -> None:
    whole = write_gguf(tmp_path_factory.mktemp("m") / "m.gguf", tensor_bytes=0).read_bytes()
    half = tmp_path_factory.mktemp("m") / "half.gguf"
    half.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(RefusedError):
        model.check(half)


@given(noise=st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("m") / "m.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0" + noise)
    with pytest.raises(RefusedError):
        model.check(path)
