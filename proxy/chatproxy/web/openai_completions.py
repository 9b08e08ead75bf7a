"""POST /v1/completions: a prompt is continued as it stands; nothing is stored."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.completions import Completions, TextOrder
from chatproxy.errors import InvalidRequest
from chatproxy.web.auth import caller, needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.openai_errors import Unsupported
from chatproxy.web.openai_fields import (
    LONGEST_ANSWER,
    REFUSED,
    Refused,
    read_model,
    read_sampling,
    read_stops,
    read_streaming,
    refuse,
)
from chatproxy.web.openai_models import Models
from chatproxy.web.openai_reply import TEXT, respond

_DEFAULT_LENGTH = 16  # tokens, OpenAI's
_LONGEST_PROMPT = 2_000_000  # characters, as in KoboldAI's API
_REFUSED: Refused = {
    **REFUSED,
    "best_of": ("there is one answer to a request", (1,)),
    "echo": ("the prompt is not sent back", (False,)),
    "suffix": ("text is only continued, not filled in", ("",)),
    "logprobs": ("probabilities are not offered here", ()),
}


def add_routes(routes: Blueprint, completions: Completions, models: Models) -> None:
    """The route, generating through `completions`."""

    @routes.post("/v1/completions")
    @needs("chat")
    def text_completions() -> Response:
        body = read_object(request)
        fields = Fields(body)
        model = read_model(fields)
        refuse(body, _REFUSED)
        models.require_bare(model)
        order = TextOrder(
            caller(),
            _read_prompt(body.get("prompt")),
            fields.whole("max_tokens", 1, LONGEST_ANSWER) or _DEFAULT_LENGTH,
            read_stops(fields, body),
            read_sampling(fields),
        )
        streaming = read_streaming(fields, body)
        return respond(completions.text(order), TEXT, model, streaming)


def _read_prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, list):
        raise Unsupported("prompt: must be one text; several at once, and tokens, are not offered here")
    text = Fields({"prompt": prompt}).text("prompt", most=_LONGEST_PROMPT)
    if not text:
        raise InvalidRequest("prompt: is missing or empty")
    return text
