"""The folder of models: its catalogue, and its files read behind, once each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chatproxy.adapters.model_folder import ModelFolder
from chatproxy.core.models import ModelFile
from chatproxy.errors import ConfigurationError
from scripts.lib import models, paths
from tests.doubles.gguf import Value, write_gguf
from tests.unit.proxy.waiting import until

SHAPE: dict[str, Value] = {
    "general.name": "Tiny",
    "llama.context_length": 2048,
    "llama.block_count": 4,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 8,
    "llama.attention.head_count_kv": 2,
}


def read(folder: ModelFolder) -> dict[str, ModelFile]:
    """The files, once all are read."""
    until(lambda: all(file.read for file in folder.files()))
    return {file.name: file for file in folder.files()}


def test_the_catalogue_is_the_one_that_make_up_reads() -> None:
    told = {offer.name: offer for offer in ModelFolder(paths.MODELS).catalogue()}
    known = models.load_catalog()
    assert told.keys() == known.keys()
    for name, model in known.items():
        offer = told[name]
        assert (offer.title, offer.file, offer.size) == (model.title, model.file, model.size)
        assert (offer.format, offer.context, offer.licence) == (model.format, model.context, model.licence)
        assert offer.good_for == model.good_for != ""
        assert (offer.quantisation, offer.use, offer.shape) == (model.quantisation, model.use, model.shape)
        assert offer.projector == (model.projector.size if model.projector else 0)
        assert offer.files == {label: (weights.file, weights.size) for label, weights in model.files.items()}
        assert offer.about == model.size_is_about


def test_a_catalogue_that_is_wrong_or_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"catalog\.toml: .*No such file"):
        ModelFolder(tmp_path).catalogue()
    (tmp_path / "catalog.toml").write_text("[half]\ntitle = 'Half'\n")
    with pytest.raises(ConfigurationError, match="'source'"):
        ModelFolder(tmp_path).catalogue()


def test_heads_are_read_behind_and_tell_the_models_shape(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", values=SHAPE)
    (tmp_path / "old.bin").write_bytes(b"tjgg")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\xff")
    (tmp_path / "notes.txt").write_text("no model")
    folder = ModelFolder(tmp_path)
    assert [(file.name, file.read) for file in folder.files()] == [
        ("broken.gguf", False),
        ("old.bin", False),
        ("tiny.gguf", False),
    ]
    files = read(folder)
    facts = files["tiny.gguf"].facts
    assert facts is not None
    # 4 layers of 2 heads for keys and 2 for values, each 64 / 8 wide, in 16 bits.
    assert (facts.title, facts.context_length) == ("Tiny", 2048)
    assert facts.shape is not None and facts.shape.cache_bytes(256) == 256 * 2 * 4 * 2 * (8 + 8)
    assert files["old.bin"].facts is None and not files["old.bin"].problem
    assert files["broken.gguf"].problem.startswith("broken.gguf cannot be read: ")


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    asked: list[str] = []

    def reading(path: Path, *, called: str) -> None:
        asked.append(called)

    path = write_gguf(tmp_path / "tiny.gguf", values=SHAPE)
    folder = ModelFolder(tmp_path, read=reading)
    read(folder)
    read(folder)
    assert asked == ["tiny.gguf"]
    os.utime(path, ns=(0, 0))
    read(folder)
    assert asked == ["tiny.gguf"] * 2
    path.unlink()
    assert folder.files() == []


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert ModelFolder(tmp_path / "none").files() == []


def test_the_machines_memory(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:        8000000 kB\nMemFree: 1 kB\n")
    assert ModelFolder(tmp_path, meminfo=tmp_path / "meminfo").memory() == 8_192_000_000
    assert ModelFolder(tmp_path, meminfo=tmp_path / "none").memory() is None
