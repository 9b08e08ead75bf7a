"""Services of a test's own, none started yet; and the embeddings service with a reranker, beside the one without."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lib.native import NativeStack


@pytest.fixture
def stack(tmp_path: Path, starter_model: Path) -> Iterator[NativeStack]:
    stack = NativeStack(tmp_path / "stack", starter_model)
    yield stack
    stack.close()
    shutil.rmtree(tmp_path / "stack")


@pytest.fixture(scope="module")
def reranking(tmp_path_factory: pytest.TempPathFactory, starter_model: Path, models: Path) -> Iterator[str]:
    """The base address of an embeddings service with the reranker `overlap`."""
    stack = NativeStack(tmp_path_factory.mktemp("reranking"), starter_model)
    stack.configure("embeddings", MODELS_DIR=str(models), RERANKER_MODEL="overlap")
    try:
        stack.start("embeddings")
        yield stack.embeddings_url
    finally:
        stack.close()
