"""The reranker's answers are checked before anything is ordered by them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatproxy.adapters.reranker import Reranker, RerankerFailure
from tests.unit.proxy.adapters.raw_server import RawServer, answer

THERE = answer(b'{"status": "ok", "reranker": "overlap"}')


def results(*pairs: tuple[int, Any]) -> bytes:
    return json.dumps({"results": [{"index": index, "relevance_score": score} for index, score in pairs]}).encode()


def test_scores_come_in_the_order_of_the_texts() -> None:
    with RawServer({"/healthz": THERE, "/v1/rerank": answer(results((1, 0.9), (0, 0.2)))}) as server:
        assert Reranker(server.url).relevance("How?", ["a", "b"]) == [0.2, 0.9]
    assert ("/v1/rerank", {"query": "How?", "documents": ["a", "b"]}) in server.requests


def test_where_there_is_none_nothing_is_asked_of_it_again() -> None:
    with RawServer({"/healthz": answer(b'{"status": "ok", "reranker": null}')}) as server:
        reranker = Reranker(server.url)
        assert [reranker.relevance("How?", ["a"]) for _ in range(3)] == [None] * 3
    assert [path for path, _ in server.requests] == ["/healthz"]


def test_one_that_has_gone_since_is_no_failure() -> None:
    with RawServer({"/healthz": THERE, "/v1/rerank": answer(b"{}", status="404 Not Found")}) as server:
        reranker = Reranker(server.url)
        assert [reranker.relevance("How?", ["a"]) for _ in range(2)] == [None] * 2
    assert [path for path, _ in server.requests] == ["/healthz", "/v1/rerank"]


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        results((0, 0.5)),
        results((0, 0.5), (2, 0.5)),
        results((0, 0.5), (1, 7.2)),
        results((0, 0.5), (1, None)),
        b'{"results": [{"index": 0, "relevance_score": NaN}, {"index": 1, "relevance_score": 0.1}]}',
    ],
)
def test_what_are_no_scores_is_a_failure(body: bytes) -> None:
    with RawServer({"/healthz": THERE, "/v1/rerank": answer(body)}) as server, pytest.raises(RerankerFailure):
        Reranker(server.url).relevance("How?", ["a", "b"])


def test_a_service_that_is_away_is_a_failure() -> None:
    with pytest.raises(RerankerFailure, match="refused"):
        Reranker("http://127.0.0.1:1").relevance("How?", ["a"])
