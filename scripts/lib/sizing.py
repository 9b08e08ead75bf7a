"""How much memory, how many threads and slots: what `auto` becomes on this machine."""

from __future__ import annotations

from dataclasses import replace

from scripts.lib.models import Model
from scripts.lib.reckoning import MB, Need, need

# Everything but the engine, idle with the embedding model loaded (measured on the packaged stack; the worker takes
# 154 MB of it), and the system.
SERVICES = 1360 * MB
SYSTEM = 256 * MB
# What Prometheus and Grafana take besides, where they are wished for.
MONITORING = 320 * MB
# koboldcpp's own process was never measured here: it is given what was seen to be enough.
_KOBOLDCPP_BASE = 400 * MB
_MAX_SLOTS = 4


def engine_need(model: Model, context: int, slots: int, batch: int, engine: str = "llamacpp") -> Need:
    """What an engine on the CPU needs for `slots` conversations of `context` tokens, reading `batch` tokens at once.

    The prompts that it saves are not in it: they take what is left over (see resolve).
    """
    parts = need(
        model.size,
        model.shape,
        context=context,
        slots=slots,
        batch=batch,
        projector=model.projector.size if model.projector else 0,
        adapters=sum(adapter.size for adapter in model.adapters),
    )
    return replace(parts, base=max(parts.base, _KOBOLDCPP_BASE)) if engine == "koboldcpp" else parts


def left_for_engine(memory: int) -> int:
    """Bytes that the other services and the system leave to the engine; may be negative."""
    return memory - SERVICES - SYSTEM


def slots(engine: str, gpu: bool, model: Model, context: int, batch: int, memory: int) -> int:
    """Answers at a time. koboldcpp on a CPU has one slot and saved prompts: measured best for several talkers."""
    if engine == "external" or gpu:
        return _MAX_SLOTS
    if engine == "koboldcpp":
        return 1
    left = left_for_engine(memory)
    fitting = (n for n in range(_MAX_SLOTS, 1, -1) if engine_need(model, context, n, batch).aside <= left)
    return next(fitting, 1)


def engine_limit(memory: int, wanted: Need) -> int:
    """The container's memory limit: all that the others leave, and never less than the model needs."""
    return min(max(left_for_engine(memory), wanted.aside), memory)
