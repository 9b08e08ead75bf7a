"""POST /v1/embeddings: texts as vectors, from the embeddings service beside us."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.access import Caller
from chatproxy.core.limits import Permit
from chatproxy.core.ports import Embedder
from chatproxy.errors import InvalidRequest
from chatproxy.web.auth import caller, needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.openai_errors import Unsupported
from chatproxy.web.openai_fields import Refused, read_model, refuse
from chatproxy.web.responses import json_response

# OpenAI takes 2048 texts. Here one call is worth about ten seconds of a small machine's CPU.
_MOST_TEXTS = 256
_LONGEST_TEXT = 100_000  # characters, the service's own limit
_LONGEST_IN_ALL = 1_000_000  # characters
_REFUSED: Refused = {"dimensions": ("the model's vectors have one length", ())}


def add_routes(routes: Blueprint, embedder: Embedder, admit: Callable[[Caller], Permit]) -> None:
    """The route. It counts as a request of its key (`admit`), and its tokens as that key's tokens."""

    @routes.post("/v1/embeddings")
    @needs("chat")
    def embeddings() -> Response:
        body = read_object(request)
        fields = Fields(body)
        model = read_model(fields)
        refuse(body, _REFUSED)
        encode = _read_encoding(body.get("encoding_format"))
        texts = _read_input(body.get("input"))
        with admit(caller()) as permit:
            embedded = embedder.embed(texts)
            permit.spend(embedded.tokens or 0)
        data = [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(embedded.vectors)
        ]
        # The service has one model; as with OpenAI's aliases the answer bears the name that was asked for.
        tokens = embedded.tokens
        usage = None if tokens is None else {"prompt_tokens": tokens, "total_tokens": tokens}
        return json_response({"object": "list", "data": data, "model": model, "usage": usage})


def _read_encoding(encoding: Any) -> Callable[[Sequence[float]], list[float] | str]:
    if encoding is None or encoding == "float":
        return list
    if encoding == "base64":
        return _base64
    raise InvalidRequest("encoding_format: must be float or base64")


def _base64(vector: Sequence[float]) -> str:
    """32-bit floats, little-endian, as OpenAI's clients read them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _read_input(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 1 <= len(texts) <= _MOST_TEXTS:
        raise InvalidRequest(f"input: must be text or a list of 1 to {_MOST_TEXTS} texts")
    if any(isinstance(text, (int, list)) for text in texts):
        raise Unsupported("input: must be text; tokens differ from model to model and are not taken here")
    checked = list(Fields({"input": texts}).texts("input", most=_MOST_TEXTS, longest=_LONGEST_TEXT))
    if sum(map(len, checked)) > _LONGEST_IN_ALL:
        raise InvalidRequest(f"input: has more than {_LONGEST_IN_ALL} characters in all, send it in parts")
    return checked
