"""The model's tokenizer counts texts as they are, few at a time."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from chatproxy.adapters.embeddings import EmbeddingsFailure
from chatproxy.adapters.token_counts import TokenCounts
from tests.unit.proxy.adapters.raw_server import RawServer, answer


def served(max_length: int = 8) -> bytes:
    """A tokenizer of whole words, which a model's file has cut and fill up texts."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding(length=max_length)
    return json.dumps({"tokenizer": json.loads(tokenizer.to_str()), "max_length": max_length}).encode()


@pytest.mark.parametrize(
    "counts",
    [[], [0], [3, 0, 12], list(range(700)), [150_000, 1, 150_000, 2], [1, 250_000, 1]],
    ids=["none", "empty", "few", "many", "long ones", "one that is longer than a slice"],
)
def test_each_text_is_counted_whole_and_in_its_place(counts: list[int]) -> None:
    with RawServer({"/v1/tokenizer": answer(served())}) as server:
        counter = TokenCounts(server.url)
        assert counter.count(["a " * count for count in counts]) == counts
        assert counter.most_read() == 8


def test_a_service_without_a_tokenizer_is_a_failure() -> None:
    with RawServer({"/v1/tokenizer": answer(b"{}")}) as server, pytest.raises(EmbeddingsFailure):
        TokenCounts(server.url).count(["a"])
