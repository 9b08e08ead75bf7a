"""The real services, started once for the whole run on free loopback ports."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from scripts.lib.native import ROOT, NativeStack

# How long an example takes is the machine's affair, not a property of the code. CI tries the same examples every time,
# so that what it says is about the change; other runs try new ones.
settings.register_profile("unhurried", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("unhurried")

STARTER_MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """The catalogue's starter model, fetched as `make up` fetches it."""
    from scripts.lib.fetch import fetch_model

    return fetch_model("smollm2-135m-instruct", ROOT / "models", python=sys.executable)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MODELS_DIR: `small` embeds, `overlap` reranks, `two-scores` is no reranker."""
    from tests.doubles import small_models

    folder = tmp_path_factory.mktemp("models")
    small_models.embedding_model(folder / "small")
    small_models.overlap_reader(folder / "overlap")
    small_models.cross_encoder(folder / "two-scores", labels=2)
    return folder


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory, starter_model: Path) -> Iterator[NativeStack]:
    stack = NativeStack(tmp_path_factory.mktemp("native"), starter_model)
    try:
        stack.start()
        yield stack
    finally:
        stack.close()
