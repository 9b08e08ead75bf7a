"""GGUF files of shapes that no packaged model has, with weights of no meaning: for measuring, not for talking.

Most of their weights are words, which a prompt's tokens do not multiply with: so they are large and read fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter, quants

# Tokens that are no words: unknown, begin, end, and one for each byte.
_SPECIAL = 3
_BYTES = 256


@dataclass(frozen=True)
class Made:
    """A model's shape, as in chatproxy.core.fitting.Shape; `kv_heads` may differ by layer where llama.cpp allows."""

    name: str
    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: int | tuple[int, ...]
    key: int
    feed_forward: int
    vocabulary: int
    merges: int = 0
    window: int = 0
    kind: Kind = Kind.F16


MADE = (
    # Heads in groups and a large vocabulary with its merges, as Llama 3.
    Made("grouped", "llama", 4, 512, 8, 4, 64, 1024, 128_256, merges=100_000),
    # Layers that see a window only, five of six, as Gemma 3.
    Made("windowed", "gemma3", 6, 640, 4, 4, 256, 1024, 65_536, window=256),
    # Heads that differ by layer, as Llama-Nemotron.
    Made("layered", "deci", 6, 768, 12, (12, 12, 6, 4, 2, 1), 64, 1024, 65_536),
    # Few wide layers with all heads.
    Made("wide", "llama", 2, 2048, 16, 16, 128, 4096, 8192, kind=Kind.Q8_0),
    # Weights that llama.cpp copies into another order on a CPU with AVX2.
    Made("reordered", "llama", 2, 2048, 16, 16, 128, 4096, 8192, kind=Kind.Q4_0),
)


def write(made: Made, folder: Path) -> Path:
    """The file, in `folder`; some 50 to 200 MB."""
    path = folder / f"{made.name}.gguf"
    writer = GGUFWriter(path, made.architecture)
    _metadata(writer, made)
    _vocabulary(writer, made)
    _weights(writer, made)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _metadata(writer: GGUFWriter, made: Made) -> None:
    writer.add_context_length(32_768)
    writer.add_block_count(made.layers)
    writer.add_embedding_length(made.width)
    writer.add_feed_forward_length(made.feed_forward)
    writer.add_head_count(made.heads)
    writer.add_head_count_kv(list(made.kv_heads) if isinstance(made.kv_heads, tuple) else made.kv_heads)
    writer.add_key_length(made.key)
    writer.add_value_length(made.key)
    writer.add_rope_dimension_count(made.key)
    writer.add_layer_norm_rms_eps(1e-5)
    if made.window:
        writer.add_sliding_window(made.window)


def _vocabulary(writer: GGUFWriter, made: Made) -> None:
    words = made.vocabulary - _SPECIAL - _BYTES
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(_BYTES)), *(f"w{n}" for n in range(words))]
    writer.add_tokenizer_model("gpt2" if made.merges else "llama")
    if made.merges:
        writer.add_tokenizer_pre("llama-bpe")
        writer.add_token_merges([f"w{n} v{n}" for n in range(made.merges)])
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(n) for n in range(made.vocabulary)])
    writer.add_token_types([2, 3, 3, *[6] * _BYTES, *[1] * words])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def _weights(writer: GGUFWriter, made: Made) -> None:
    noise: Any = (np.random.default_rng(0).standard_normal(1 << 18) * 0.02).astype(np.float32)

    def matrix(name: str, rows: int, columns: int) -> None:
        if made.kind == Kind.F16:
            writer.add_tensor(name, np.resize(noise.astype(np.float16), (rows, columns)))
            return
        block = quants.quantize(np.resize(noise, (16, columns)), made.kind)
        writer.add_tensor(name, np.resize(block, (rows, block.shape[1])), raw_dtype=made.kind)

    def norm(name: str, width: int) -> None:
        writer.add_tensor(name, np.ones(width, np.float32))

    matrix("token_embd.weight", made.vocabulary, made.width)
    norm("output_norm.weight", made.width)
    for layer in range(made.layers):
        start = f"blk.{layer}."
        heads = made.kv_heads[layer] if isinstance(made.kv_heads, tuple) else made.kv_heads
        norm(f"{start}attn_norm.weight", made.width)
        norm(f"{start}ffn_norm.weight", made.width)
        if made.architecture == "gemma3":
            norm(f"{start}post_attention_norm.weight", made.width)
            norm(f"{start}post_ffw_norm.weight", made.width)
            norm(f"{start}attn_q_norm.weight", made.key)
            norm(f"{start}attn_k_norm.weight", made.key)
        matrix(f"{start}attn_q.weight", made.heads * made.key, made.width)
        matrix(f"{start}attn_k.weight", heads * made.key, made.width)
        matrix(f"{start}attn_v.weight", heads * made.key, made.width)
        matrix(f"{start}attn_output.weight", made.width, made.heads * made.key)
        matrix(f"{start}ffn_gate.weight", made.feed_forward, made.width)
        matrix(f"{start}ffn_up.weight", made.feed_forward, made.width)
        matrix(f"{start}ffn_down.weight", made.width, made.feed_forward)
