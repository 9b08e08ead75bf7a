"""KoboldAI's generation, as koboldcpp speaks it. The prompt is taken as it is, nothing is stored.

    POST /api/v1/generate, /api/latest/generate    {"results": [{"text", "finish_reason", token counts}]}
    POST /api/extra/generate/stream                `event: message`, `data: {"token", "finish_reason"}`

What happens to each field of a request:

    field               accepted                        koboldcpp    llama.cpp's server   other engines
    prompt              text, required                  yes          yes                  yes
    memory              text, put before the prompt     yes          yes                  yes
    max_length          1 to 8192, default 200          yes          yes                  yes
    max_context_length  16 to 1048576; where memory is given, the beginning of a prompt that does not fit is left out
                        and the header X-Context-Truncated says true; else it is refused with 422
    stop_sequence       up to 32 texts, empty ones
                        do nothing                      yes          yes                  first 4, rest by us
    genkey              up to 200 characters; the name by which .../abort and .../check find the generation
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
    use_default_badwordsids  true, false; the older name of ban_eos_token, which goes before it
    top_a               0 to 1                          yes          ignored              ignored
    tfs                 0 to 1                          yes          ignored              ignored
    rep_pen_slope       0 to 10                         yes          ignored              ignored
    images              up to 4, base64: in front of
                        memory and prompt               yes          yes                  refused
    sampler_order       a permutation of 0 to 6         yes          ignored              ignored

Any other field is ignored, as koboldcpp ignores what it does not know: n (one result, there as here), quiet, mirostat*,
dynatemp*, smoothing_factor, dry_*, xtc_*, presence_penalty, logit_bias, banned_tokens, render_special,
bypass_eos ... The samplers among them cost koboldcpp its batching. null counts as absent. A sampler at the value at
which it does nothing is not passed on, for the same reason.

trim_stop is ignored too: the text always ends before a stop sequence, also for those who ask for `false`. An ended
generation says "stop" (koboldcpp: only for an end token), a full or aborted one says "length".
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from typing import Any

from flask import Blueprint, Response, request

from chatproxy.core.completions import DEFAULT_LENGTH, Accepted, Completions, TextOrder
from chatproxy.core.generation import Finished, GenerationEvent, Token
from chatproxy.core.types import Sampling
from chatproxy.errors import ChatProxyError, InvalidRequest
from chatproxy.web.auth import caller, needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.chat import CLIENT_CLOSED_REQUEST
from chatproxy.web.clients import watch
from chatproxy.web.images import read_images
from chatproxy.web.kobold_perf import Performance
from chatproxy.web.responses import json_response
from chatproxy.web.sse import stream, to_the_end

_LONGEST_LENGTH = 8192
_LONGEST_PROMPT = 2_000_000  # characters
_LONGEST_GRAMMAR = 8_000  # characters
_MOST_BRACKETS = 500
_LONGEST_CONTEXT = 1 << 20
_LONGEST_GENKEY = 200  # characters
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


Events = Generator[Accepted | GenerationEvent]


def add_routes(routes: Blueprint, completions: Completions, performance: Performance) -> None:
    """Generation, whole and streamed, through `completions`."""

    # Old clients post to the address with a slash at its end; a redirect would lose their body.
    @routes.post("/api/v1/generate")
    @routes.post("/api/v1/generate/")
    @routes.post("/api/latest/generate")
    @routes.post("/api/latest/generate/")
    @needs("kobold")
    def generate() -> Response:
        order = _read_order()
        parts: list[str] = []
        events = _noted(completions.text(order), order, performance, parts)
        accepted = next(events)
        finished = to_the_end(events, watch(request.environ))
        if not isinstance(finished, Finished):
            return json_response({}, CLIENT_CLOSED_REQUEST)
        used = finished.usage
        result = {
            "text": "".join(parts),
            "finish_reason": _reason(finished),
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
        }
        return _told(accepted, json_response({"results": [result]}))

    @routes.post("/api/extra/generate/stream")
    @routes.post("/api/extra/generate/stream/")
    @needs("kobold")
    def generate_stream() -> Response:
        order = _read_order()
        events = _noted(completions.text(order), order, performance, [])
        accepted = next(events)  # up to here an error has its own HTTP status
        return _told(accepted, stream(events, _write, _failed, watch(request.environ)))


def run_id(genkey: str | None) -> str | None:
    """The name under which Running finds the generation with this genkey; None without one."""
    return f"kobold:{genkey}" if genkey else None


def read_genkey(fields: Fields) -> str | None:
    """The name that the client has given its generation."""
    return fields.text("genkey", most=_LONGEST_GENKEY)


def _told(accepted: Accepted | GenerationEvent, response: Response) -> Response:
    if isinstance(accepted, Accepted) and accepted.context_truncated:
        response.headers["X-Context-Truncated"] = "true"
    return response


def _noted(events: Events, order: TextOrder, performance: Performance, parts: list[str]) -> Events:
    """The same events; the text is collected in `parts`, and the figures of an ended generation are kept."""
    first = last = 0.0
    try:
        for event in events:
            if isinstance(event, Token):
                last = time.monotonic()
                first = first or last
                parts.append(event.text)
            elif isinstance(event, Finished):
                performance.note(order.caller.owner, event, last - first)
            yield event
    finally:
        events.close()


def _write(event: Accepted | GenerationEvent) -> bytes:
    match event:
        case Token():
            return _message({"token": event.text, "finish_reason": None})
        case Finished():
            return _message({"token": "", "finish_reason": _reason(event)})  # nosec B105 - a piece of text
        case _:
            return b""


def _failed(error: ChatProxyError) -> bytes:
    """As koboldcpp ends a failed stream, with what happened beside it."""
    detail = {"msg": error.public, "type": error.code}
    return _message({"token": "", "finish_reason": "error", "detail": detail})  # nosec B105 - a piece of text


def _message(data: dict[str, Any]) -> bytes:
    """koboldcpp's framing. Its own page looks for exactly these two lines and reads the data up to the line's end."""
    return f"event: message\ndata: {json.dumps(data)}\n\n".encode()


def _reason(finished: Finished) -> str:
    return "stop" if finished.reason == "stop" else "length"


def _read_order() -> TextOrder:
    body = read_object(request)
    fields = Fields(body | {"stop_sequence": _without_empty(body.get("stop_sequence"))})
    memory = fields.text("memory", most=_LONGEST_PROMPT) or ""
    prompt = fields.text("prompt", most=_LONGEST_PROMPT) or ""
    if not memory + prompt:
        raise InvalidRequest("prompt: is missing or empty")
    return TextOrder(
        caller(),
        prompt,
        fields.whole("max_length", 1, _LONGEST_LENGTH) or DEFAULT_LENGTH,
        fields.texts("stop_sequence", most=32, longest=200),
        _read_sampling(fields, body),
        fields.whole("max_context_length", 16, _LONGEST_CONTEXT),
        run_id(read_genkey(fields)),
        memory,
        read_images(body.get("images"), "images"),
    )


def _without_empty(stops: Any) -> Any:
    """KoboldAI Lite sends empty stop strings where a story has no tags; koboldcpp passes over them."""
    return [stop for stop in stops if stop != ""] if isinstance(stops, list) else stops


def _read_sampling(fields: Fields, body: dict[str, Any]) -> Sampling:
    asked: dict[str, Any] = {}
    for name, (low, high, neutral) in _NUMBERS.items():
        value = fields.number(name, low, high)
        asked[name] = None if value == neutral else value
    for name, bounds in _WHOLE.items():
        asked[name] = fields.whole(name, *bounds)
    ban, older_ban = fields.flag("ban_eos_token"), fields.flag("use_default_badwordsids")
    return Sampling(
        **asked,
        sampler_order=_read_sampler_order(body.get("sampler_order")),
        grammar=_read_grammar(fields),
        ban_eos_token=older_ban if ban is None else ban,
    )


def _read_sampler_order(order: Any) -> tuple[int, ...] | None:
    if order is None:
        return None
    # 3.0 counts as 3, as everywhere; true does not count as 1.
    numbers = isinstance(order, list) and all(type(item) in (int, float) for item in order)
    if not numbers or sorted(order) != list(range(7)):
        raise InvalidRequest("sampler_order: must hold each of 0 to 6 once")
    return tuple(int(item) for item in order)


def _read_grammar(fields: Fields) -> str | None:
    """Engines read GBNF by recursion: tens of thousands of open brackets end llama.cpp's whole process."""
    grammar = fields.text("grammar", most=_LONGEST_GRAMMAR)
    if grammar and sum(grammar.count(bracket) for bracket in "([{") > _MOST_BRACKETS:
        raise InvalidRequest(f"grammar: has more than {_MOST_BRACKETS} brackets")
    return grammar or None
