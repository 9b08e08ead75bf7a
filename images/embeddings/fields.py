"""What callers ask for, checked field by field."""

from __future__ import annotations

from dataclasses import dataclass

# OpenAI's own limit for one call.
MAX_TEXTS = 2048
MAX_CHARS = 100_000
MAX_BODY_BYTES = 8 * 1024 * 1024


class BadInput(Exception):
    """What the caller must change, in words."""


@dataclass(frozen=True)
class Ranking:
    """An order for /v1/rerank. `most` is how many results are wanted."""

    query: str
    documents: list[str]
    most: int
    with_documents: bool


def embedding_inputs(body: object) -> list[str]:
    """The texts of an order for /v1/embeddings. Raises BadInput."""
    fields = _object(body)
    if fields.get("encoding_format", "float") != "float":
        raise BadInput("encoding_format must be 'float'")
    given = fields.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadInput("input must be a non-empty string or a list of non-empty strings")
    _bounded("input", texts)
    return texts


def ranking(body: object) -> Ranking:
    """An order for /v1/rerank. Raises BadInput."""
    fields = _object(body)
    query = fields.get("query")
    if not isinstance(query, str) or not query.strip():
        raise BadInput("query must be a non-empty string")
    _bounded("query", [query])
    given = fields.get("documents")
    documents = [_text_of(each) for each in given] if isinstance(given, list) else []
    if not documents:
        raise BadInput("documents must be a list of strings, or of objects with a text, and not be empty")
    _bounded("documents", documents)
    most = fields.get("top_n")
    if most is None:
        most = len(documents)
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise BadInput("top_n must be a whole number of at least 1")
    with_documents = fields.get("return_documents")
    if with_documents is not None and not isinstance(with_documents, bool):
        raise BadInput("return_documents must be true or false")
    return Ranking(query, documents, most, bool(with_documents))


def _object(body: object) -> dict[str, object]:
    if not isinstance(body, dict):
        raise BadInput("the body must be a JSON object")
    return body


def _text_of(document: object) -> str:
    text = document.get("text") if isinstance(document, dict) else document
    if not isinstance(text, str) or not text:
        raise BadInput("documents must be non-empty strings, or objects whose text is one")
    return text


def _bounded(name: str, texts: list[str]) -> None:
    if len(texts) > MAX_TEXTS:
        raise BadInput(f"{name} has {len(texts)} texts; at most {MAX_TEXTS} fit in one call")
    if any(len(text) > MAX_CHARS for text in texts):
        raise BadInput(f"a text in {name} is longer than {MAX_CHARS} characters")
