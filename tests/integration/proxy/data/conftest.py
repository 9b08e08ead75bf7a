"""Two places that share one embeddings service: `used` is backed up, `blank` is restored into."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.lib.native import ROOT, NativeStack
from tests.integration.proxy.data.place import Place, use


@pytest.fixture(scope="session")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embeddings service; the model to chat with is never opened."""
    stack = NativeStack(tmp_path_factory.mktemp("embedding"), ROOT / "models" / "none.gguf")
    try:
        stack.start("embeddings")
        yield stack.embeddings_url
    finally:
        stack.close()


def _place(tmp_path_factory: pytest.TempPathFactory, name: str, embedding: str) -> Iterator[Place]:
    stack = NativeStack(tmp_path_factory.mktemp(name), ROOT / "models" / "none.gguf")
    try:
        stack.start("mongo")
        stack.start("chroma")
        yield Place(stack, embedding)
    finally:
        stack.close()


@pytest.fixture(scope="session")
def used(tmp_path_factory: pytest.TempPathFactory, embedding: str) -> Iterator[Place]:
    """With everything that a used appliance has. Tests leave it as it was."""
    for place in _place(tmp_path_factory, "used", embedding):
        use(place)
        yield place


@pytest.fixture(scope="session")
def _second(tmp_path_factory: pytest.TempPathFactory, embedding: str) -> Iterator[Place]:
    yield from _place(tmp_path_factory, "blank", embedding)


@pytest.fixture
def blank(_second: Place) -> Place:
    _second.emptied()
    return _second
