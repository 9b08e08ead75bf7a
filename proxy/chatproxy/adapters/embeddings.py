"""The embeddings service, behind OpenAI's /v1/embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.core.types import Embedded
from chatproxy.errors import ChatProxyError, Unhealthy

_CHECK_TIMEOUT_S = 2.0
_EMBED_TIMEOUT_S = 60.0


class EmbeddingsFailure(ChatProxyError):
    """The service is not there or gave no vectors; searching is not possible, answering is."""

    code = "embeddings_error"
    status = 502
    public = "The search service gave no usable answer."


class Embeddings:
    """Texts to vectors. Implements core.ports.Embedder and HealthCheck."""

    name = "embeddings"

    def __init__(self, url: str) -> None:
        self._service = Service(url)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """See core.ports.Embedder. Raises EmbeddingsFailure."""
        if not texts:
            return Embedded([], 0)
        try:
            answer = self._service.post("/v1/embeddings", {"input": list(texts)}, timeout_s=_EMBED_TIMEOUT_S)
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
        return Embedded(vectors, _tokens(answer))

    def check(self) -> None:
        """See core.ports.HealthCheck."""
        try:
            self._service.get("/healthz", timeout_s=_CHECK_TIMEOUT_S)
        except CallFailed as error:
            raise Unhealthy(str(error)) from None


def _tokens(answer: dict[str, Any]) -> int | None:
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else None
