"""A model for searching is a folder: all of it from one commit, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lib import fetch
from scripts.lib.models import load_catalog
from tests.doubles.hub import HubDouble
from tests.unit.scripts.hub_shelf import Get, names, refused

SENTENCES = {
    "modules.json": b"[]",
    "config.json": b"{}",
    "1_Pooling/config.json": b"{}",
    "tokenizer.json": b"{" + b" " * 5000 + b"}",
    "model.safetensors": b"s" * 20_000,
    "pytorch_model.bin": b"p" * 20_000,
    "onnx/model.onnx": b"o" * 20_000,
    "onnx/config.json": b"{}",
}


@pytest.fixture
def sentences(hub: HubDouble, shelf: Path) -> None:
    hub.files = dict(SENTENCES)
    (shelf / "catalog.toml").write_text("""
[small-embedder]
title = "Small"
use = "embedding"
folder = "small"
size = 25000
[small-embedder.source]
kind = "hub"
repository = "maker/model"
""")


@pytest.mark.usefixtures("sentences")
def test_a_folder_comes_whole_at_one_commit_with_what_is_read_of_it(shelf: Path, get: Get) -> None:
    get("small-embedder")
    there = {str(path.relative_to(shelf / "small")) for path in (shelf / "small").rglob("*") if path.is_file()}
    assert there == {"modules.json", "config.json", "1_Pooling/config.json", "tokenizer.json", "model.safetensors"}
    assert names(shelf) == {"small"}
    model = load_catalog(shelf / "catalog.toml")["small-embedder"]
    assert fetch.is_known(model, shelf)
    (shelf / "small" / "config.json").write_text("[]")
    assert not fetch.is_known(model, shelf)


@pytest.mark.usefixtures("sentences")
@pytest.mark.parametrize("path", ["model.safetensors", "config.json"])
def test_a_folder_with_one_wrong_file_is_not_there_at_all(hub: HubDouble, shelf: Path, get: Get, path: str) -> None:
    hub.lies = {path: b"[]" if path == "config.json" else b"t" * 20_000}
    assert refused(get, "small-embedder").id == "download.checksum"
    assert not (shelf / "small").exists()
    hub.lies = {}
    hub.ranges.clear()
    get("small-embedder")
    assert names(shelf) == {"small"}
    assert len(hub.ranges) < 5


@pytest.mark.usefixtures("sentences")
def test_pickled_weights_alone_are_refused(hub: HubDouble, shelf: Path, get: Get) -> None:
    del hub.files["model.safetensors"]
    assert refused(get, "small-embedder").id == "model.not_weights"
    assert names(shelf) == set()
