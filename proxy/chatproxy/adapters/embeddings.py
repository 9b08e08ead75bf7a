"""The embeddings service, behind OpenAI's /v1/embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.adapters.remembered import Remembered
from chatproxy.core.types import Embedded
from chatproxy.errors import SearchUnavailable, Unhealthy

_CHECK_TIMEOUT_S = 2.0
# For many texts at a time: nobody waits for the worker's, and a batch takes a small machine half a minute.
_EMBED_TIMEOUT_S = 60.0
# For one question: somebody waits for the answer, which is given without passages then.
QUESTION_TIMEOUT_S = 10.0
# A service that was started anew may have another model.
_MODEL_LASTS_S = 10.0


class EmbeddingsFailure(SearchUnavailable):
    """The service is not there or gave no vectors."""


class Embeddings:
    """Texts to vectors. Implements core.ports.Embedder and HealthCheck."""

    name = "embeddings"

    def __init__(self, url: str, *, timeout_s: float = _EMBED_TIMEOUT_S) -> None:
        """`timeout_s` is how long one call of `embed` may take."""
        self._service, self._timeout_s = Service(url), timeout_s
        # Looks, on a line of their own, at whether the service is there, which it is while all others wait for vectors.
        self._looks = Service(url)
        self._model = Remembered(self._ask_model, lasts_s=_MODEL_LASTS_S)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """See core.ports.Embedder. Raises EmbeddingsFailure."""
        if not texts:
            return Embedded([], 0)
        try:
            answer = self._service.post("/v1/embeddings", {"input": list(texts)}, timeout_s=self._timeout_s)
            rows = sorted(answer["data"], key=lambda row: int(row["index"]))
            vectors = [[float(number) for number in row["embedding"]] for row in rows]
        except CallFailed as error:
            raise EmbeddingsFailure(f"embeddings: {error}") from None
        except (KeyError, TypeError, ValueError):
            raise EmbeddingsFailure("embeddings: the answer holds no vectors") from None
        if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) != 1:
            raise EmbeddingsFailure(f"embeddings: {len(texts)} texts gave {len(vectors)} vectors, or of unlike lengths")
        if not all(math.isfinite(number) for vector in vectors for number in vector):
            raise EmbeddingsFailure("embeddings: a vector holds numbers that are none")
        if isinstance(answer.get("model"), str):
            self._model.put(answer["model"])
        return Embedded(vectors, _tokens(answer))

    def model(self) -> str:
        """The name of the model that made the latest vectors, or would make the next. Raises EmbeddingsFailure."""
        return self._model.get()

    def _ask_model(self) -> str:
        try:
            return str(self._looks.get("/healthz", timeout_s=_CHECK_TIMEOUT_S)["model"])
        except (CallFailed, KeyError, TypeError) as error:
            raise EmbeddingsFailure(f"embeddings: {error}") from None

    def check(self) -> None:
        """See core.ports.HealthCheck."""
        try:
            self._looks.get("/healthz", timeout_s=_CHECK_TIMEOUT_S)
        except CallFailed as error:
            raise Unhealthy(str(error)) from None


def _tokens(answer: dict[str, Any]) -> int | None:
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else None
