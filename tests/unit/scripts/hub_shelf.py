"""A hub with one model, and a models folder whose catalogue names it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.lib import fetch_hub
from scripts.lib.failure import Failure
from scripts.lib.hub import Hub
from scripts.lib.models import load_catalog
from tests.doubles.hub import HubDouble, running


def gguf(elements: int = 50_000, fill: bytes = b"\x07") -> bytes:
    """A whole file with one tensor of 8-bit numbers."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    head += text("x") + struct.pack("<IQIQ", 1, elements, 24, 0)
    return head + b"\0" * (-len(head) % 32) + fill * elements


WEIGHTS, EYES, LORA = gguf(), gguf(6_000, b"\x02"), gguf(5_000, b"\x03")


@pytest.fixture
def hub() -> Iterator[HubDouble]:
    files = {"model.Q4_K_M.gguf": WEIGHTS, "mmproj.gguf": EYES, "loras/kind.gguf": LORA, "README.md": b"# A model\n"}
    with running(HubDouble(files)) as double:
        yield double


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    catalog(models)
    return models


def catalog(models: Path, sha256: str = "", more: str = "") -> None:
    (models / "catalog.toml").write_text(f"""
[tiny]
title = "Tiny"
format = "chatml"
default = "Q4_K_M"
[tiny.source]
kind = "hub"
repository = "maker/model"
[tiny.files.Q4_K_M]
file = "tiny.gguf"
path = "model.Q4_K_M.gguf"
size = {len(WEIGHTS)}
sha256 = "{sha256}"
{more}
""")


Get = Callable[..., None]


@pytest.fixture
def get(hub: HubDouble, shelf: Path) -> Get:
    """Fetches as `fetch_model` does, without pauses."""

    def run(name: str = "tiny", token: str = "") -> None:
        model = load_catalog(shelf / "catalog.toml")[name]
        asked = Hub(token, hub.url, pause=lambda seconds: None)
        fetch_hub.fetch(model, model.source, shelf, progress=lambda done, total: None, hub=asked)  # type: ignore[arg-type]

    return run


def names(shelf: Path) -> set[str]:
    return {path.name for path in shelf.iterdir()} - {"catalog.toml", ".fetch.lock", ".records.json"}


def refused(get: Get, *words: str) -> Failure:
    with pytest.raises(Failure) as raised:
        get(*words)
    assert raised.value.hint
    return raised.value
