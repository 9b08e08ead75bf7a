"""Passages in a cross-encoder's order: the service, the adapter, retrieval and the search route together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Client, running_proxy
from tests.integration.proxy.knowledge.conftest import BOT
from tests.integration.proxy.knowledge.sites import found
from tests.integration.proxy.knowledge.worker_process import Worker

# Of these the first means best what is asked, the second has most of the question's words.
GUIDE = """# Lamps

## Refunds

Money is returned within thirty days once the goods have arrived.

## Colours

When can lamps get sent back in red? Never: lamps come in brass.

## Weather

The fog lies low over the harbour at dawn.
"""
QUESTION = "When can lamps get sent back?"


@pytest.fixture(scope="module")
def reranked(
    native: NativeStack, worker: Worker, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """A client of a proxy whose embeddings service has the reranker `overlap`; its bot answers from GUIDE."""
    stack = NativeStack(tmp_path_factory.mktemp("reranker"), native.model)
    stack.configure("embeddings", MODELS_DIR=str(models), RERANKER_MODEL="overlap")
    folder = tmp_path_factory.mktemp("reranked")
    try:
        stack.start("embeddings")
        with running_proxy(native, folder, EMBEDDINGS_URL=stack.embeddings_url) as proxy:
            (folder / "bots" / "lamps.yaml").write_text(BOT.format(collection="lamps"))
            for number in range(30):
                text = f"# Notes\n\nNote {number}: lamps and lenses are kept in room {number * 3}."
                worker.begun("add-file", "--name", f"{number}.md", "--collection", "lamps", given=text.encode())
            worker.done("add-file", "--name", "guide.md", "--collection", "lamps", given=GUIDE.encode())
            yield proxy.as_("chat")
    finally:
        stack.close()


def test_the_reranker_has_the_last_word_on_order_and_relevance(reranked: Client) -> None:
    passages = found(reranked, "lamps", QUESTION)
    assert "in red" in passages[0]["text"]
    scores = [each["score"] for each in passages]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.5
    assert all(score >= 0.1 for score in scores)


def test_what_it_finds_irrelevant_is_not_found_at_all(reranked: Client) -> None:
    assert found(reranked, "lamps", "Quarterly dividend forecasts") == []
