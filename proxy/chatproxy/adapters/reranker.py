"""The embeddings service's reranker, behind the route that Jina, Cohere and llama.cpp's server share: /v1/rerank."""

from __future__ import annotations

from collections.abc import Sequence

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.adapters.remembered import Remembered
from chatproxy.errors import SearchUnavailable

_CHECK_TIMEOUT_S = 2.0
# A visitor waits for it: what takes longer is answered in the order that there is.
_TIMEOUT_S = 5.0
# A service that was started anew may have a reranker, or have it no more.
_KNOWN_FOR_S = 30.0


class RerankerFailure(SearchUnavailable):
    """The reranker is not there or gave no scores."""


class Reranker:
    """Implements core.ports.Reranker. Whether there is one, the service says itself. Thread-safe."""

    def __init__(self, url: str) -> None:
        self._service = Service(url)
        self._is_there = Remembered(self._ask, lasts_s=_KNOWN_FOR_S)

    def relevance(self, question: str, texts: Sequence[str]) -> Sequence[float] | None:
        """See core.ports.Reranker. Raises RerankerFailure."""
        if not texts:
            return []
        if not self._is_there.get():
            return None
        payload = {"query": question, "documents": list(texts)}
        try:
            answer = self._service.post("/v1/rerank", payload, timeout_s=_TIMEOUT_S)
            scores = {int(row["index"]): float(row["relevance_score"]) for row in answer["results"]}
        except CallFailed as error:
            if str(error) == "HTTP 404":
                self._is_there.put(False)
                return None
            raise RerankerFailure(f"reranker: {error}") from None
        except (KeyError, TypeError, ValueError):
            raise RerankerFailure("reranker: the answer holds no scores") from None
        if sorted(scores) != list(range(len(texts))):
            raise RerankerFailure(f"reranker: {len(texts)} texts gave {len(scores)} scores, or of other texts")
        if not all(0.0 <= score <= 1.0 for score in scores.values()):
            raise RerankerFailure("reranker: a score is not from 0 to 1")
        return [scores[index] for index in range(len(texts))]

    def _ask(self) -> bool:
        try:
            answer = self._service.get("/healthz", timeout_s=_CHECK_TIMEOUT_S)
        except CallFailed as error:
            raise RerankerFailure(f"reranker: {error}") from None
        return isinstance(answer, dict) and bool(answer.get("reranker"))
