"""OpenAI's error envelope, {"error": {"message", "type", "param", "code"}}, with the statuses its clients expect."""

from __future__ import annotations

import re
from typing import Any

from chatproxy.errors import InvalidRequest, NotFound
from chatproxy.web.responses import Failure

# Our texts begin with the field that is wrong: "messages[0].content: must be ...".
_FIELD = re.compile(r"([a-z_]+(?:\[[0-9]+\])?(?:\.[a-z_]+(?:\[[0-9]+\])?)*): ")
# Where OpenAI has a name of its own for what happened; anything else keeps ours.
_CODES = {
    "invalid_request": None,
    "unauthorized": "invalid_api_key",
    "forbidden": "insufficient_permissions",
    "context_too_long": "context_length_exceeded",
    "rate_limited": "rate_limit_exceeded",
}
_CONTEXT_STATUS = 400


class Unsupported(InvalidRequest):
    """Something that OpenAI's API has and this appliance does not; it is refused rather than dropped silently."""

    code = "unsupported_value"


class ModelNotFound(NotFound):
    """The request names a model that is neither the engine's nor a bot."""

    code = "model_not_found"


def envelope(failure: Failure) -> tuple[Any, int]:
    """Payload and status. A prompt that is too long is a 400 there, and clients look for its code."""
    status = _CONTEXT_STATUS if failure.code == "context_too_long" else failure.status
    field = _FIELD.match(failure.text) if status == _CONTEXT_STATUS else None
    param = "model" if failure.code == ModelNotFound.code else field and field[1]
    code = _CODES.get(failure.code, failure.code)
    # LangChain looks for this code in the message alone.
    message = f"{failure.text} ({code})" if failure.code == "context_too_long" else failure.text
    error = {"message": message, "type": _kind(status), "param": param, "code": code}
    return {"error": error}, status


def _kind(status: int) -> str:
    if status == 429:
        return "requests"
    return "invalid_request_error" if status < 500 else "server_error"
