"""KoboldAI's API, as koboldcpp speaks it: POST /api/v1/generate. The prompt is taken as it is, nothing is stored.

What happens to each field of a request:

    field               accepted                        koboldcpp    llama.cpp's server   other engines
    prompt              text, required                  yes          yes                  yes
    memory              text, put before the prompt     yes          yes                  yes
    max_length          1 to 8192, default 200          yes          yes                  yes
    max_context_length  16 to 1048576; a prompt that does not fit is refused with 422, never cut
    stop_sequence       up to 32 texts                  yes          yes                  first 4, rest by us
    temperature         0 to 5                          yes          yes                  yes
    top_p               0 to 1                          yes          yes                  yes
    top_k               0 to 1000                       yes          yes                  ignored
    min_p               0 to 1                          yes          yes                  ignored
    typical             0 to 1                          yes          yes                  ignored
    rep_pen             0.1 to 10                       yes          yes                  ignored
    rep_pen_range       0 to 1048576 tokens             yes          yes                  ignored
    sampler_seed        -1 to 4294967295                yes          yes                  yes
    grammar             GBNF, up to 8,000 characters    yes          yes                  ignored
    ban_eos_token       true, false                     yes          yes                  ignored
    top_a               0 to 1                          yes          ignored              ignored
    tfs                 0 to 1                          yes          ignored              ignored
    rep_pen_slope       0 to 10                         yes          ignored              ignored
    sampler_order       a permutation of 0 to 6         yes          ignored              ignored

Any other field is ignored, as koboldcpp does (n, quiet, use_default_badwordsids ...); null counts as absent. A sampler
at the value at which it does nothing is not passed on, since koboldcpp gives up batching for those it is told of. The
text ends before a stop sequence, as koboldcpp's trim_stop has it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.completions import Accepted, Completions, TextOrder
from chatproxy.core.generation import Finished, GenerationEvent, Token
from chatproxy.core.types import Sampling
from chatproxy.errors import InvalidRequest
from chatproxy.web.auth import caller, needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.chat import CLIENT_CLOSED_REQUEST
from chatproxy.web.clients import watch
from chatproxy.web.responses import Envelope, Failure, json_response
from chatproxy.web.sse import to_the_end

_DEFAULT_LENGTH = 200
_LONGEST_LENGTH = 8192
_LONGEST_PROMPT = 2_000_000  # characters
_LONGEST_GRAMMAR = 8_000  # characters
_MOST_BRACKETS = 500
_LONGEST_CONTEXT = 1 << 20
# name: (lowest, highest, the value at which it does nothing)
_NUMBERS: dict[str, tuple[float, float, float | None]] = {
    "temperature": (0, 5, None),
    "top_p": (0, 1, 1),
    "min_p": (0, 1, 0),
    "top_a": (0, 1, 0),
    "typical": (0, 1, 1),
    "tfs": (0, 1, 1),
    "rep_pen": (0.1, 10, None),
    "rep_pen_slope": (0, 10, None),
}
_WHOLE: dict[str, tuple[int, int]] = {
    "top_k": (0, 1000),
    "rep_pen_range": (0, _LONGEST_CONTEXT),
    "sampler_seed": (-1, 2**32 - 1),
}


def envelope(failure: Failure) -> tuple[Any, int]:
    """{"detail": {"msg", "type"}}, koboldcpp's."""
    return {"detail": {"msg": failure.text, "type": failure.code}}, failure.status


ENVELOPES: dict[str, Envelope] = {"/api/v1/generate": envelope, "/api/latest/generate": envelope}


def blueprint(completions: Completions) -> Blueprint:
    """The routes, generating through `completions`."""
    routes = Blueprint("kobold", __name__)

    # Old clients post to the address with a slash at its end; a redirect would lose their body.
    @routes.post("/api/v1/generate")
    @routes.post("/api/v1/generate/")
    @routes.post("/api/latest/generate")
    @routes.post("/api/latest/generate/")
    @needs("kobold")
    def generate() -> Response:
        order = _read_order()
        parts: list[str] = []
        finished = to_the_end(_collect(completions, order, parts), watch(request.environ))
        if not isinstance(finished, Finished):
            return json_response({}, CLIENT_CLOSED_REQUEST)
        used = finished.usage
        result = {
            "text": "".join(parts),
            "finish_reason": finished.reason,
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
        }
        return json_response({"results": [result]})

    return routes


def _collect(completions: Completions, order: TextOrder, parts: list[str]) -> Generator[Accepted | GenerationEvent]:
    for event in completions.text(order):
        if isinstance(event, Token):
            parts.append(event.text)
        yield event


def _read_order() -> TextOrder:
    body = read_object(request)
    fields = Fields(body)
    prompt = (fields.text("memory", most=_LONGEST_PROMPT) or "") + (fields.text("prompt", most=_LONGEST_PROMPT) or "")
    if not prompt:
        raise InvalidRequest("prompt: is missing or empty")
    max_tokens = fields.whole("max_length", 1, _LONGEST_LENGTH) or _DEFAULT_LENGTH
    limit = fields.whole("max_context_length", 16, _LONGEST_CONTEXT)
    stops = fields.texts("stop_sequence", most=32, longest=200)
    sampling = _read_sampling(fields, body)
    return TextOrder(caller(), prompt, max_tokens, stops, sampling, limit)


def _read_sampling(fields: Fields, body: dict[str, Any]) -> Sampling:
    asked: dict[str, Any] = {}
    for name, (low, high, neutral) in _NUMBERS.items():
        value = fields.number(name, low, high)
        asked[name] = None if value == neutral else value
    for name, bounds in _WHOLE.items():
        asked[name] = fields.whole(name, *bounds)
    order = body.get("sampler_order")
    if order is not None and (not isinstance(order, list) or sorted(map(repr, order)) != list("0123456")):
        raise InvalidRequest("sampler_order: must hold each of 0 to 6 once")
    return Sampling(
        **asked,
        sampler_order=tuple(order) if order else None,
        grammar=_read_grammar(fields),
        ban_eos_token=fields.flag("ban_eos_token"),
    )


def _read_grammar(fields: Fields) -> str | None:
    """Engines read GBNF by recursion: tens of thousands of open brackets end llama.cpp's whole process."""
    grammar = fields.text("grammar", most=_LONGEST_GRAMMAR)
    if grammar and sum(grammar.count(bracket) for bracket in "([{") > _MOST_BRACKETS:
        raise InvalidRequest(f"grammar: has more than {_MOST_BRACKETS} brackets")
    return grammar or None
