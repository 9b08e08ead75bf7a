"""What can be asked without a key: the model, the version, the limits, the slot's state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .slot import StopReason

if TYPE_CHECKING:
    from .server import KoboldcppDouble

_STARTED = time.time()
_ABSENT_ABILITIES = ("txt2img", "vision", "audio", "transcribe", "multiplayer", "websearch", "tts", "embeddings")


def read(double: KoboldcppDouble, path: str) -> Any | None:
    """The answer to ``GET path``, or None where there is no such route. `path` has no slash at its end."""
    context = double.slot.context_size
    answers = {
        ("/api/v1/model", "/api/latest/model"): {"result": f"koboldcpp/{double.model}"},
        ("/api/v1/config/max_length", "/api/latest/config/max_length"): {"value": min(512, context)},
        ("/api/v1/config/max_context_length", "/api/latest/config/max_context_length"): {"value": context},
        ("/api/v1/info/version", "/api/latest/info/version"): {"result": "1.2.5"},
        ("/api/extra/true_max_context_length",): {"value": context},
        ("/api/extra/version",): version(double),
        ("/api/extra/perf",): perf(double),
        ("/v1/models",): models(double),
    }
    for suffixes, answer in answers.items():
        if path.endswith(suffixes):
            return answer
    return None


def version(double: KoboldcppDouble) -> dict[str, Any]:
    named = {"result": "KoboldCpp", "version": double.dialect.version, "protected": bool(double.password)}
    return named | dict.fromkeys(_ABSENT_ABILITIES, False) | {"vision": double.vision}


def perf(double: KoboldcppDouble) -> dict[str, Any]:
    slot, last = double.slot, double.slot.last
    tokens = len(last.tokens) if last else 0
    return {
        "last_process": slot.first_token_delay,
        "last_eval": slot.token_delay * tokens,
        "last_token_count": tokens,
        "last_seed": 1,
        "total_gens": sum(generation.done.is_set() for generation in slot.generations),
        "stop_reason": int(last.stop_reason if last else StopReason.INVALID),
        "total_img_gens": 0,
        "queue": slot.waiting,
        "idle": 0 if slot.busy else 1,
        "hordeexitcounter": -1,
        "uptime": time.time() - _STARTED,
        "idletime": time.time() - slot.last_used,
        "quiet": True,
    }


def models(double: KoboldcppDouble) -> dict[str, Any]:
    model = {"id": f"koboldcpp/{double.model}", "object": "model", "created": 1, "owned_by": "koboldcpp"}
    return {"object": "list", "data": [model | {"permission": [], "root": "koboldcpp"}]}
