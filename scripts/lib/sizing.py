"""How much memory, how many threads and slots: what `auto` becomes on this machine."""

from __future__ import annotations

MB = 2**20

# Everything but the engine, idle with the embedding model loaded (measured on the packaged stack), and the system.
SERVICES = 1200 * MB
SYSTEM = 256 * MB
# The engine's own buffers: compute graph, tokenizer, HTTP server, its saved prompts.
_ENGINE_BASE = 400 * MB
# Upper estimate of the key/value cache: a Llama-2-7B (4 GB in 4 bit) needs 0.5 MB for a token, models with grouped
# attention a quarter of it.
_WEIGHT_BYTES_PER_CACHE_BYTE = 8000
_MAX_SLOTS = 4


def engine_need(weights: int, context: int, slots: int) -> int:
    """Bytes of RAM that an engine needs for `slots` conversations of `context` tokens each."""
    cache = weights // _WEIGHT_BYTES_PER_CACHE_BYTE * context * slots
    return weights + cache + _ENGINE_BASE


def left_for_engine(memory: int) -> int:
    """Bytes that the other services and the system leave to the engine; may be negative."""
    return memory - SERVICES - SYSTEM


def slots(engine: str, gpu: bool, weights: int, context: int, memory: int) -> int:
    """Answers at a time. koboldcpp on a CPU has one slot and saved prompts: measured best for several talkers."""
    if engine == "external" or gpu:
        return _MAX_SLOTS
    if engine == "koboldcpp":
        return 1
    fitting = (n for n in range(_MAX_SLOTS, 1, -1) if engine_need(weights, context, n) <= left_for_engine(memory))
    return next(fitting, 1)


def engine_limit(memory: int, weights: int, context: int, slot_count: int) -> int:
    """The container's memory limit: all that the others leave, and never less than the model needs."""
    return min(max(left_for_engine(memory), engine_need(weights, context, slot_count)), memory)
