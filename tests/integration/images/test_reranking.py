"""The rerank route, whose answers are those of Jina, Cohere and llama.cpp's server; and who waits for whom."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from chatproxy.adapters.reranker import Reranker
from scripts.lib.native import NativeStack, ServiceFailed

QUESTION = "How long do I have to send a lamp back?"
DOCUMENTS = [
    "The catalogue of 1987 lists a brass foghorn.",
    "You have thirty days to send a lamp back.",
    "A lamp is sold here.",
]


def rerank(url: str, **fields: Any) -> requests.Response:
    return requests.post(f"{url}/v1/rerank", json={"query": QUESTION, "documents": DOCUMENTS, **fields}, timeout=30)


def test_the_best_document_comes_first_with_a_score_from_0_to_1(reranking: str) -> None:
    answer = rerank(reranking).json()
    assert [each["index"] for each in answer["results"]] == [1, 2, 0]
    scores = [each["relevance_score"] for each in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.5 > scores[1] > scores[2] > 0
    assert answer["model"] == "overlap"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 60
    assert "document" not in answer["results"][0]


def test_it_says_that_it_has_a_reranker(reranking: str) -> None:
    assert requests.get(f"{reranking}/healthz", timeout=10).json()["reranker"] == "overlap"


def test_fewer_results_and_the_documents_themselves_on_request(reranking: str) -> None:
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1], "url": "ignored"}]
    answer = rerank(reranking, documents=documents, top_n=1, return_documents=True).json()
    (best,) = answer["results"]
    assert (best["index"], best["document"]) == (1, {"text": DOCUMENTS[1]})
    assert len(rerank(reranking, top_n=99).json()["results"]) == 3


def test_a_document_is_scored_alike_alone_among_others_and_when_more_than_the_model_reads_follows(
    reranking: str,
) -> None:
    alone = rerank(reranking, documents=DOCUMENTS[1:2]).json()["results"][0]["relevance_score"]
    many = rerank(reranking, documents=["Fog. " * 300, *DOCUMENTS, *["A foghorn."] * 60]).json()["results"]
    assert many[0]["index"] == 2
    assert many[0]["relevance_score"] == pytest.approx(alone, abs=1e-4)
    long = rerank(reranking, documents=[DOCUMENTS[1] + " Fog." * 5000]).json()
    assert long["results"][0]["relevance_score"] > 0.5
    assert long["usage"]["total_tokens"] == 512


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "one"}, "documents"),
        ({"documents": ["x", ""]}, "documents"),
        ({"documents": [{"title": "x"}]}, "documents"),
        ({"documents": ["x"] * 2049}, "2048"),
        ({"documents": ["x" * 100_001]}, "100000"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": True}, "top_n"),
        ({"return_documents": "yes"}, "return_documents"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(reranking: str, fields: dict[str, Any], named: str) -> None:
    answer = rerank(reranking, **fields)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]


def test_without_a_reranker_the_route_says_which_setting_is_empty(native: NativeStack) -> None:
    answer = rerank(native.embeddings_url)
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert "RERANKER_MODEL" in error["message"]
    assert error["code"] == "model_not_found"
    assert requests.get(f"{native.embeddings_url}/healthz", timeout=10).json()["reranker"] is None


def test_the_proxys_adapter_scores_in_the_texts_order_and_knows_where_there_is_none(
    reranking: str, native: NativeStack
) -> None:
    scores = Reranker(reranking).relevance(QUESTION, DOCUMENTS)
    assert scores is not None
    assert scores[1] > scores[2] > scores[0]
    assert Reranker(native.embeddings_url).relevance(QUESTION, DOCUMENTS) is None


@pytest.mark.parametrize(
    ("setting", "name", "said"),
    [
        ("EMBEDDING_MODEL", "nowhere", "there is no folder"),
        ("RERANKER_MODEL", "two-scores", "gives 2 scores"),
    ],
)
def test_a_model_that_cannot_be_used_stops_the_start_by_name(
    tmp_path: Path, starter_model: Path, models: Path, setting: str, name: str, said: str
) -> None:
    stack = NativeStack(tmp_path, starter_model)
    stack.configure("embeddings", MODELS_DIR=str(models), **{setting: name})
    try:
        with pytest.raises(ServiceFailed, match=f"{setting}.*{said}"):
            stack.start("embeddings")
    finally:
        stack.close()


def test_questions_are_answered_in_the_middle_of_a_long_reading(reranking: str) -> None:
    """A batch of 256 texts computes for seconds; questions asked meanwhile do not wait for its end."""
    ended: list[float] = []

    def read() -> None:
        texts = [f"{number}: " + "The keeper looked over the quiet water. " * 12 for number in range(256)]
        requests.post(f"{reranking}/v1/embeddings", json={"input": texts}, timeout=300).raise_for_status()
        ended.append(time.monotonic())

    begun = time.monotonic()
    reading = threading.Thread(target=read)
    reading.start()
    time.sleep(0.5)
    answered = []
    for _ in range(3):
        requests.post(f"{reranking}/v1/embeddings", json={"input": QUESTION}, timeout=60).raise_for_status()
        rerank(reranking).raise_for_status()
        answered.append(time.monotonic())
    reading.join()
    assert answered[-1] < ended[0]
    assert max(b - a for a, b in zip([begun + 0.5, *answered], answered, strict=False)) < (ended[0] - begun) / 2
