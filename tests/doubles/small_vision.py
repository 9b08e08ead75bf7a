"""A vision projector and a LoRA for the starter model, made of random numbers within a second and always the same.

What they see and say means nothing; that they change what the model says is what tests want of them. Names of fields
and tensors as llama.cpp's tools/mtmd/clip.cpp and src/llama-adapter.cpp read them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter

WIDTH = 576  # of the starter model's embeddings
_SIDE, _PATCH, _HIDDEN, _LAYERS = 56, 14, 32, 2
IMAGE_TOKENS = (_SIDE // _PATCH) ** 2


def projector(path: Path) -> Path:
    """Of LLaVA 1.5's kind: any image becomes IMAGE_TOKENS tokens."""
    writer = GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    writer.add_string("clip.projector_type", "mlp")
    numbers = {
        "image_size": _SIDE,
        "patch_size": _PATCH,
        "embedding_length": _HIDDEN,
        "feed_forward_length": 2 * _HIDDEN,
        "projection_dim": WIDTH,
        "block_count": _LAYERS,
        "attention.head_count": 2,
    }
    for name, number in numbers.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    random = _Random(writer)
    # Four times what keeps variance: between two plain colours there is not much else to see.
    random.add("v.patch_embd.weight", _HIDDEN, 3, _PATCH, _PATCH, scale=4 / np.sqrt(3 * _PATCH * _PATCH))
    random.add("v.position_embd.weight", IMAGE_TOKENS, _HIDDEN, scale=0.1)
    for layer in range(_LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            random.add_linear(f"v.blk.{layer}.{name}", _HIDDEN, _HIDDEN)
        for name in ("ln1", "ln2"):
            writer.add_tensor(f"v.blk.{layer}.{name}.weight", np.ones(_HIDDEN, np.float32))
            random.add(f"v.blk.{layer}.{name}.bias", _HIDDEN, scale=0.01)
        random.add_linear(f"v.blk.{layer}.ffn_up", 2 * _HIDDEN, _HIDDEN)
        random.add_linear(f"v.blk.{layer}.ffn_down", _HIDDEN, 2 * _HIDDEN)
    random.add_linear("mm.0", WIDTH, _HIDDEN)
    random.add_linear("mm.2", WIDTH, WIDTH)
    return _written(writer, path)


def lora(path: Path) -> Path:
    """On top of the first layers' queries and outputs, strong enough to be heard."""
    writer = GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    random, rank = _Random(writer), 4
    for layer in range(4):
        for name in ("attn_q", "attn_output"):
            random.add(f"blk.{layer}.{name}.weight.lora_a", rank, WIDTH, scale=1 / np.sqrt(WIDTH))
            random.add(f"blk.{layer}.{name}.weight.lora_b", WIDTH, rank, scale=1.0)
    return _written(writer, path)


class _Random:
    """Adds tensors of normally distributed numbers."""

    def __init__(self, writer: GGUFWriter) -> None:
        self._writer, self._generator = writer, np.random.default_rng(7)

    def add(self, name: str, *shape: int, scale: float) -> None:
        self._writer.add_tensor(name, (self._generator.standard_normal(shape) * scale).astype(np.float32))

    def add_linear(self, name: str, out: int, into: int) -> None:
        self.add(f"{name}.weight", out, into, scale=1 / np.sqrt(into))
        self.add(f"{name}.bias", out, scale=0.01)


def _written(writer: GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
