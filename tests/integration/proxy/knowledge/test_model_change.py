"""The operator sets another embedding model: the vectors are made anew by themselves, and searches go on meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chatproxy.adapters.chroma import Chroma
from chatproxy.adapters.embeddings import Embeddings
from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Client, running_proxy, until
from tests.integration.proxy.knowledge.conftest import BOT
from tests.integration.proxy.knowledge.sites import first_text
from tests.integration.proxy.knowledge.stores import Stores
from tests.integration.proxy.knowledge.worker_process import Worker

GUIDE = "# Guide\n\n## Fog\n\nIn fog the horn sounds every forty seconds.\n\n## Oil\n\nThe lamp burns whale oil.\n"
QUESTION = "How often does the horn sound in fog?"


@pytest.fixture
def stack(tmp_path: Path, starter_model: Path, models: Path) -> Iterator[NativeStack]:
    """A database and stores of its own: with another model all collections are made anew."""
    stack = NativeStack(tmp_path / "stack", starter_model)
    stack.configure("embeddings", MODELS_DIR=str(models))
    try:
        for name in ("mongo", "chroma", "embeddings"):
            stack.start(name)
        yield stack
    finally:
        stack.close()


@pytest.fixture
def worker(stack: NativeStack, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(stack, tmp_path)
    yield worker
    if worker.process and worker.process.poll() is None:
        worker.terminate()


@pytest.fixture
def desk(stack: NativeStack, tmp_path: Path) -> Iterator[Client]:
    (tmp_path / "proxy").mkdir()
    with running_proxy(stack, tmp_path / "proxy") as proxy:
        (tmp_path / "proxy" / "bots" / "guide.yaml").write_text(BOT.format(collection="guide"))
        yield proxy.as_("chat")


def _rebuilds(stores: Stores) -> list[str]:
    return [job["state"] for job in stores.database["jobs"].find({"kind": "rebuild"})]


def test_another_model_makes_all_vectors_anew_once_and_words_are_searched_meanwhile(
    stack: NativeStack, worker: Worker, desk: Client
) -> None:
    stores = Stores(stack)
    worker.start()
    worker.done("add-file", "--name", "guide.md", "--collection", "guide", given=GUIDE.encode())
    assert "forty seconds" in first_text(desk, "guide", QUESTION)
    worker.terminate()

    stack.stop("embeddings")
    stack.configure("embeddings", EMBEDDING_MODEL="small")
    stack.start("embeddings")
    chroma = Chroma(
        stack.chroma_url, token=stack.chroma_token_file.read_text(), model=Embeddings(stack.embeddings_url).model
    )
    assert chroma.fit("guide") == "foreign"
    # Of 48 numbers instead of 384: asked for with these, Chroma would refuse. The proxy has not been started anew.
    assert "forty seconds" in first_text(desk, "guide", "horn fog seconds")

    worker.start()
    until(lambda: _rebuilds(stores) == ["done"], 60)
    assert chroma.fit("guide") == "whole"
    assert {hit.id for hit in chroma.nearest("guide", [[0.1] * 48], 10)[0]} == stores.searched("guide")
    assert "forty seconds" in first_text(desk, "guide", "In fog the horn sounds every forty seconds")
    assert stores.said("guide", "whale") <= stores.searched("guide")
    # The next worker looks as well, and finds all as it should be.
    worker.terminate()
    worker.start()
    worker.done("add-file", "--name", "more.md", "--collection", "guide", given=b"# More\n\nThe stairs are steep.\n")
    assert _rebuilds(stores) == ["done"]
