"""What a model takes and gives: bytes of memory, layers on a graphics card, tokens per second.

The one arithmetic: the console and `make` tell the same figures, so this module is standard library only and runs
under Python 3.10. Its rules are llama.cpp's, whose source is named beside each; its constants were measured on the
server of the wheel xllamacpp 2026.10 and hold within a tenth (`make bench ONLY=fit`).

koboldcpp keeps weights, keys and values by the same code. What its own process takes was not measured, nor what a
graphics card's driver does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MB = 1 << 20
_F32, _F16 = 4, 2
# A cache's cells come in multiples of this (llama_context, llama_kv_cache_iswa: GGML_PAD(n, 256)).
_CELLS = 256
# Python, the server's library, its threads: resident before there is a vocabulary.
PROCESS = 32 * MB
# What the tokenizer keeps, bytes for a token (its text, its score, the way back from text to number) and for a merge
# of two tokens. Measured as the difference between vocabularies of 32,000 and 256,000 tokens, and with 280,000 merges.
_TOKEN, _MERGE = 235, 200
# Each slot's sampler has a number, a value and a probability for every token (llama_token_data); its logits lie in the
# graph and in the output buffer.
_CHOICE = 12 + 2 * _F32
# Live at once in a layer's graph, in values for each token of a batch: the stream and its norms, and the feed-forward's
# gate, up and product. Read off ggml-alloc's "compute buffer size" for seven shapes and batches from 64 to 512.
_WIDTHS, _FEED_FORWARDS = 5, 3
# Copies of the sliding window that the server keeps for a slot, so that a conversation can be taken up again
# (CommonParams.n_ctx_checkpoints; images/llamacpp/serve.py sets it to this).
CHECKPOINTS = 2
# Every n-th layer sees everything, the others a window (set_swa_pattern in llama.cpp's src/models): llama.cpp windows
# these architectures alone, whatever a file says about itself.
_WINDOWED = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gemma4": 6, "cohere2": 4, "gpt-oss": 2, "exaone4": 4, "olmo2": 4}
# Of a model whose file does not tell: a Llama 2 7B in 4 bits (4 GB) needs 0.5 MB for a token, others less.
_WEIGHT_BYTES_PER_CACHE_BYTE = 8000
_UNTOLD = 400 * MB
# While an image of the largest size that is taken (core.images) is decoded: a PNG of 16 bits took 376 MB, a progressive
# JPEG 282.
DECODING = 384 * MB
# No model has more layers; a file that says so is damaged, and a list for each of them would fill the memory.
_MOST_LAYERS = 10_000
# What a card's driver keeps for itself, and bits of an output layer's weight (Q6_K, in files of fewer bits too).
_CARD = 512 * MB
_OUTPUT_BITS = 6.5625


@dataclass(frozen=True)
class Shape:
    """What a model's head tells: numbers of layers and heads, widths in values, lengths in tokens.

    `kv_heads` and `windowed` have one item for each layer; a windowed layer keeps the last `window` tokens only, with
    heads of `window_key` and `window_value` values. `experts` is 0 for a dense model, `context` what it was trained
    with, 0 where untold.
    """

    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: tuple[int, ...]
    key: int
    value: int
    feed_forward: int
    vocabulary: int
    merges: int = 0
    window: int = 0
    windowed: tuple[bool, ...] = ()
    window_key: int = 0
    window_value: int = 0
    experts: int = 0
    experts_used: int = 0
    context: int = 0

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Shape | None:
        """From a GGUF file's metadata, lists as sequences or as their lengths; None where it does not tell enough, or
        what no model is like."""
        told = _Told(values)
        layers, width, heads = told("block_count"), told("embedding_length"), told("attention.head_count")
        if not (0 < layers <= _MOST_LAYERS and width and heads):
            return None
        key, value = told("attention.key_length", width // heads), told("attention.value_length", width // heads)
        kept = layers - told("attention.shared_kv_layers")
        windowed = told.windowed(layers)
        shape = cls(
            told.architecture,
            layers,
            width,
            heads,
            tuple(n if i < kept else 0 for i, n in enumerate(told.each("attention.head_count_kv", layers, heads))),
            key,
            value,
            told("expert_feed_forward_length") or told("feed_forward_length"),
            told.length("tokenizer.ggml.tokens") or told("vocab_size"),
            told.length("tokenizer.ggml.merges"),
            told("attention.sliding_window") if any(windowed) else 0,
            windowed,
            told("attention.key_length_swa", key),
            told("attention.value_length_swa", value),
            told("expert_count"),
            told("expert_used_count"),
            told("context_length"),
        )
        return shape if parameters(shape) else None

    @classmethod
    def published(cls, facts: Mapping[str, object], context: int = 0) -> Shape:
        """From the few numbers that models/catalog.toml gives. KeyError, TypeError, ValueError where one is missing or
        wrong."""
        number = {name: fact for name, fact in facts.items() if isinstance(fact, int)}
        layers, width, heads = number["layers"], number["width"], number["heads"]
        if not 0 < layers <= _MOST_LAYERS or min(number.values()) < 0 or not width * heads:
            raise ValueError(f"no model has {layers} layers of {heads} heads and {width} values")
        architecture, every = str(facts.get("architecture", "llama")), number.get("every", 0)
        key = number.get("key", width // heads)
        value = number.get("value", key)
        kv = facts.get("kv_heads", heads)
        if isinstance(kv, (list, tuple)) and len(kv) != layers:
            raise ValueError(f"kv_heads are {len(kv)}, and there are {layers} layers")
        return cls(
            architecture,
            layers,
            width,
            heads,
            tuple(int(n) for n in kv) if isinstance(kv, (list, tuple)) else (number.get("kv_heads", heads),) * layers,
            key,
            value,
            number["feed_forward"],
            number["vocabulary"],
            number.get("merges", 0),
            number.get("window", 0),
            tuple(i % every < every - 1 for i in range(layers)) if every else (),
            key,
            value,
            number.get("experts", 0),
            number.get("experts_used", 0),
            context,
        )

    def cache_bytes(self, tokens: int, batch: int = 0) -> int:
        """What keys and values of one conversation take in 16 bits; reading `batch` tokens at once widens windows."""
        cells = _padded(tokens)
        narrow = min(cells, _padded(self.window + batch))
        return sum(self._layer(i) * (narrow if self._narrow(i) else cells) for i in range(self.layers))

    def window_bytes(self, tokens: int) -> int:
        """What a copy of the windowed layers takes, of a conversation of `tokens`."""
        return sum(self._layer(i) for i in range(self.layers) if self._narrow(i)) * min(tokens, self.window)

    def _narrow(self, layer: int) -> bool:
        return bool(self.window and self.windowed and self.windowed[layer])

    def _layer(self, layer: int) -> int:
        """Bytes for one token."""
        narrow = self._narrow(layer)
        wide = self.window_key + self.window_value if narrow else self.key + self.value
        return self.kv_heads[layer] * wide * _F16


class _Told:
    """A GGUF file's metadata, asked by names inside its architecture."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self.architecture = str(values.get("general.architecture", ""))

    def __call__(self, name: str, otherwise: int = 0) -> int:
        """One number; of a list, its largest. What is below 0 is none."""
        found = self._values.get(f"{self.architecture}.{name}")
        if isinstance(found, (list, tuple)):
            found = max((int(item) for item in found), default=-1)
        return found if isinstance(found, int) and found >= 0 else otherwise

    def each(self, name: str, layers: int, otherwise: int) -> tuple[int, ...]:
        """One number for each layer."""
        found = self._values.get(f"{self.architecture}.{name}")
        if isinstance(found, (list, tuple)) and len(found) >= layers:
            return tuple(max(0, int(item)) for item in found[:layers])
        return (self(name, otherwise),) * layers

    def length(self, name: str) -> int:
        found = self._values.get(name)
        if isinstance(found, int):
            return found
        return len(found) if isinstance(found, (list, tuple)) else 0

    def windowed(self, layers: int) -> tuple[bool, ...]:
        usual = _WINDOWED.get(self.architecture)
        if usual is None:
            return ()
        found = self._values.get(f"{self.architecture}.attention.sliding_window_pattern")
        if isinstance(found, (list, tuple)) and len(found) >= layers:
            return tuple(bool(item) for item in found[:layers])
        every = found if isinstance(found, int) and found > 0 else usual
        return tuple(i % every < every - 1 for i in range(layers))


@dataclass(frozen=True)
class Need:
    """Bytes that an engine needs: the weights, the conversations' keys and values with the prompts that are saved,
    room to compute in, and the process itself. `decoding` comes and goes with an image."""

    weights: int
    cache: int
    compute: int
    base: int
    decoding: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute + self.base

    @property
    def aside(self) -> int:
        """What to set aside for it: the figures hold within a tenth."""
        return self.total * 11 // 10 + self.decoding


def need(
    size: int,
    shape: Shape | None,
    *,
    context: int,
    slots: int,
    batch: int,
    prompt_cache: int = 0,
    projector: int = 0,
    adapters: int = 0,
) -> Need:
    """What an engine on the CPU needs to answer `slots` conversations of `context` tokens each.

    `size` of the weights' file, `projector` and `adapters` in bytes; `prompt_cache` in bytes as far as it will fill;
    `batch` in tokens. Without a `shape` it is an upper estimate.

    Weights are counted once. On a CPU with AVX2 llama.cpp copies those in Q4_0, Q4_K, IQ4_NL and MXFP4 into another
    order and looks at the mapped file no more: its pages show in the process's resident memory until the kernel needs
    them for something else.
    """
    weights = size + projector + adapters
    if shape is None:
        cache = size // _WEIGHT_BYTES_PER_CACHE_BYTE * context * slots
        return Need(weights, cache + prompt_cache, 0, _UNTOLD, DECODING if projector else 0)
    kept = shape.cache_bytes(context, batch) + CHECKPOINTS * shape.window_bytes(context)
    return Need(
        weights,
        kept * slots + prompt_cache,
        _compute(shape, context, slots, batch),
        PROCESS + shape.vocabulary * _TOKEN + shape.merges * _MERGE,
        DECODING if projector else 0,
    )


def _compute(shape: Shape, context: int, slots: int, batch: int) -> int:
    """The graph's buffer, with its masks in 16 bits, and what is there for each slot's choice of a token."""
    mask = _padded(context) + (_padded(shape.window + batch) if shape.window else 0)
    layer = _WIDTHS * shape.width + _FEED_FORWARDS * shape.feed_forward * max(1, shape.experts_used)
    return batch * (layer * _F32 + mask * _F16) + slots * shape.vocabulary * _CHOICE


def tokens_per_second(active_bytes: int, bandwidth: int) -> float:
    """Tokens generated in a second by one conversation: for each, the active weights are read once.

    `bandwidth` of the memory that holds them, in bytes per second. An upper bound: with many tokens before it, a token
    reads their keys and values too.
    """
    return bandwidth / active_bytes if active_bytes else 0.0


def active_bytes(size: int, shape: Shape | None) -> int:
    """Bytes of weights that one token reads: all, or those of the experts that it is sent to."""
    if shape is None or not shape.experts:
        return size
    expert = shape.layers * 3 * shape.width * shape.feed_forward
    whole = parameters(shape)
    return size * (whole - expert * (shape.experts - shape.experts_used)) // whole


def parameters(shape: Shape) -> int:
    """How many weights a model of this shape has, one matrix for words going in and coming out counted once."""
    attention = 2 * shape.layers * shape.width * shape.heads * shape.key
    attention += sum(shape.width * kv * (shape.key + shape.value) for kv in shape.kv_heads)
    feeding = 3 * shape.layers * shape.width * shape.feed_forward * max(1, shape.experts)
    return attention + feeding + shape.vocabulary * shape.width


def layers_on_gpu(size: int, shape: Shape | None, free: Sequence[int], *, context: int, slots: int, batch: int) -> int:
    """How many layers fit into the cards' free memory, `free` in bytes each; 0 where the shape is unknown.

    The output counts as one more layer after the others, as llama.cpp and koboldcpp count (`--gpulayers`). llama.cpp
    moves it first, versions before December 2025 last: room for it is kept on the last card either way. Each card has
    a driver's share and a graph of its own.
    """
    if shape is None or not free:
        return 0
    own = _CARD + _compute(shape, context, slots, batch)
    rooms = [card - own for card in free]
    words = shape.vocabulary * shape.width
    rooms[-1] -= int(words * max(_OUTPUT_BITS / 8, size / parameters(shape)))
    # Which of a card's layers have the large caches is not known before: one more than their share.
    cache = shape.cache_bytes(context, batch) * slots
    spare = max(shape._layer(i) for i in range(shape.layers)) * _padded(context) * slots if shape.window else 0
    layer = (size - size * words // parameters(shape) + cache) // shape.layers + 1
    fitting = sum(max(0, room - spare) // layer for room in rooms)
    return shape.layers + 1 if fitting >= shape.layers and rooms[-1] >= 0 else min(fitting, shape.layers)


def _padded(tokens: int) -> int:
    return -(-tokens // _CELLS) * _CELLS
