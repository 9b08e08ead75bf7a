"""An embedding model behind OpenAI's route, and a reranker behind the route that Jina, Cohere and llama.cpp share.

POST /v1/embeddings {"input": str | [str, ...], "model"?: str, "encoding_format"?: "float"}
  -> {"object": "list", "model", "data": [{"object": "embedding", "index", "embedding": [float, ...]}], "usage"}
POST /v1/rerank {"query": str, "documents": [str | {"text": str}, ...], "top_n"?, "return_documents"?, "model"?}
  -> {"object": "list", "model", "results": [{"index", "relevance_score", "document"?: {"text"}}, ...], "usage"}
Vectors are of unit length; results come best first, scored from 0 to 1. A text is read up to the model's own length.
Errors come in OpenAI's envelope: {"error": {"message", "type", "code"}}; 404 for /v1/rerank without a reranker.
GET /healthz -> {"status": "ok", "model", "dimensions", "reranker"}, the last null without one.
GET /v1/tokenizer -> {"model", "max_length", "tokenizer"}: how texts are counted. `tokenizer` is the model's
tokenizer.json, `max_length` the tokens of a text that it reads, those around it included.
GET /metrics -> calls, texts, tokens, batches, seconds and queue, for Prometheus.
"""

from __future__ import annotations

import os
from typing import Any

from encoders import EmbeddingModel, RerankingModel, folder_of
from fields import MAX_BODY_BYTES, BadInput, embedding_inputs, ranking
from flask import Flask, Response, jsonify, request
from measures import EMBED, RERANK, Measures
from turns import Turns
from werkzeug.exceptions import HTTPException


class NoReranker(Exception):
    """/v1/rerank where RERANKER_MODEL is empty."""


def create_app() -> Flask:
    turns = Turns()
    embedder = EmbeddingModel(folder_of("EMBEDDING_MODEL", os.environ), turns)
    folder = folder_of("RERANKER_MODEL", os.environ)
    reranker = RerankingModel(folder, turns) if folder else None
    measures = Measures(turns)

    app = Flask("embeddings")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify(
            status="ok",
            model=embedder.name,
            dimensions=embedder.dimensions,
            reranker=reranker.name if reranker else None,
        )

    @app.get("/metrics")
    def metrics() -> Response:
        page, content_type = measures.page()
        return Response(page, content_type=content_type)

    @app.get("/v1/tokenizer")
    def tokenizer() -> Response:
        return jsonify(model=embedder.name, max_length=embedder.max_tokens, tokenizer=embedder.tokenizer)

    @app.post("/v1/embeddings")
    def embeddings() -> Response:
        texts = embedding_inputs(request.get_json(silent=True))
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(embedder.vectors(texts))
        ]
        tokens = embedder.tokens(texts)
        measures.answered(EMBED, len(texts), tokens)
        return jsonify(object="list", model=embedder.name, data=data, usage=_usage(tokens))

    @app.post("/v1/rerank")
    def rerank() -> Response:
        if reranker is None:
            raise NoReranker
        order = ranking(request.get_json(silent=True))
        scores = reranker.relevance(order.query, order.documents)
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[: order.most]
        results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in best]
        if order.with_documents:
            for result in results:
                result["document"] = {"text": order.documents[result["index"]]}
        tokens = reranker.tokens(order.query, order.documents)
        measures.answered(RERANK, len(order.documents), tokens)
        return jsonify(object="list", model=reranker.name, results=results, usage=_usage(tokens))

    @app.errorhandler(BadInput)
    def bad_input(error: BadInput) -> tuple[Response, int]:
        return _error(str(error), "invalid_request_error", 400)

    @app.errorhandler(NoReranker)
    def no_reranker(error: NoReranker) -> tuple[Response, int]:
        return _error("no reranker is set up: RERANKER_MODEL is empty", "invalid_request_error", 404, "model_not_found")

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[Response, int]:
        return _error(error.description or error.name, "invalid_request_error", error.code or 500)

    @app.errorhandler(Exception)
    def broken(error: Exception) -> tuple[Response, int]:
        app.logger.error("a model failed: %s", type(error).__name__)
        return _error("the model failed; the service's log has the time and kind", "server_error", 500)

    return app


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _error(message: str, kind: str, status: int, code: str | None = None) -> tuple[Response, int]:
    return jsonify(error={"message": message, "type": kind, "code": code}), status
