"""What chat completions and completions have in common of a request: see web/openai.py for the whole table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatproxy.core.types import Sampling
from chatproxy.errors import InvalidRequest
from chatproxy.web.body import Fields
from chatproxy.web.openai_errors import Unsupported

LONGEST_ANSWER = 1 << 20  # tokens; the context window bounds it in earnest
_LONGEST_NAME = 200
_MOST_STOPS, _LONGEST_STOP = 4, 200
_SEEDS = 2**63
# 2**32 - 1 means "any seed" to llama.cpp, so the seeds end before it.
_ENGINE_SEEDS = 2**32 - 1

# name: (why it is refused, the values that ask for nothing)
Refused = Mapping[str, tuple[str, tuple[Any, ...]]]
REFUSED: Refused = {
    "n": ("there is one answer to a request", (1,)),
    "logit_bias": ("token ids differ from model to model, it is not offered here", ({},)),
}


@dataclass(frozen=True, slots=True)
class Streaming:
    """How the answer is to be sent: at once or as a stream, and that with its token counts or without."""

    wanted: bool
    include_usage: bool


def refuse(body: Mapping[str, Any], refused: Refused) -> None:
    """Raise Unsupported for the first field that asks for something that is not offered."""
    for name, (reason, nothing) in refused.items():
        value = body.get(name)
        if value is not None and not any(_is_same(value, other) for other in nothing):
            raise Unsupported(f"{name}: {reason}")


def _is_same(value: Any, other: Any) -> bool:
    """As in JSON, where 1.0 is 1, and neither is true."""
    return isinstance(value, bool) is isinstance(other, bool) and bool(value == other)


def read_model(fields: Fields) -> str:
    """The model's name, required as OpenAI has it."""
    model = fields.text("model", most=_LONGEST_NAME)
    if not model:
        raise InvalidRequest("model: is missing or empty; GET /v1/models lists what there is")
    return model


def read_sampling(fields: Fields, grammar: str | None = None) -> Sampling:
    """OpenAI's samplers; those that ask for nothing are not passed on."""
    seed = fields.whole("seed", -_SEEDS, _SEEDS - 1)
    return Sampling(
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        frequency_penalty=fields.number("frequency_penalty", -2, 2) or None,
        presence_penalty=fields.number("presence_penalty", -2, 2) or None,
        sampler_seed=None if seed is None else seed % _ENGINE_SEEDS,
        grammar=grammar,
    )


def read_stops(fields: Fields, body: Mapping[str, Any]) -> tuple[str, ...]:
    """One text or up to four; empty ones ask for nothing."""
    stop = body.get("stop")
    if isinstance(stop, list):
        kept = [item for item in stop if item != ""]
        return Fields({"stop": kept}).texts("stop", most=_MOST_STOPS, longest=_LONGEST_STOP)
    if stop is not None and not isinstance(stop, str):
        raise InvalidRequest(f"stop: must be text or a list of at most {_MOST_STOPS} texts")
    text = fields.text("stop", most=_LONGEST_STOP)
    return (text,) if text else ()


def read_streaming(fields: Fields, body: Mapping[str, Any]) -> Streaming:
    """`stream` and `stream_options`."""
    wanted = fields.flag("stream") or False
    options = body.get("stream_options")
    if options is None:
        return Streaming(wanted, False)
    if not isinstance(options, dict):
        raise InvalidRequest("stream_options: must be an object")
    if not wanted:
        raise InvalidRequest("stream_options: is only allowed together with stream")
    name = "stream_options.include_usage"
    return Streaming(wanted, Fields({name: options.get("include_usage")}).flag(name) or False)
