"""What the engine's threads, batch and prompt cache become where they are `auto`: pure arithmetic, sizes in bytes."""

from __future__ import annotations

import math

# llama.cpp's server looks up between two batches: at 64 tokens it stops reading within a second of a visitor's leaving,
# and reads as fast as with more (see images/llamacpp/serve.py). koboldcpp reads on to the end of the prompt anyway.
_PROMPT_BATCH = 64
# Both engines' own number. An image's tokens have to fit into one batch.
_USUAL_BATCH = 512
# More conversations would only be reached by busier sites than one CPU serves; koboldcpp's image has the same number.
_MOST_KEPT = 12
_MB = 2**20


def threads(cores: int, engine_cpus: str) -> int:
    """Physical cores that the engine's container may use: a thread that waits for a CPU holds all others up."""
    if engine_cpus == "auto":
        return cores
    return max(1, min(cores, math.floor(float(engine_cpus))))


def batch(engine: str, *, gpu: bool, vision: bool = False) -> int:
    """Tokens of a prompt that are read in one go."""
    return _PROMPT_BATCH if engine == "llamacpp" and not gpu and not vision else _USUAL_BATCH


def prompt_cache(left: int, conversation: int) -> int:
    """Memory for the prompts of conversations that are not being answered, in whole MB.

    Args:
        left: what weights, contexts and the other services leave of the engine's memory; may be negative.
        conversation: what one conversation's keys and values take.
    """
    # The other half stays with the system: it is where the weights' file and the database's are kept.
    return min(max(left, 0) // 2, _MOST_KEPT * conversation) // _MB * _MB
