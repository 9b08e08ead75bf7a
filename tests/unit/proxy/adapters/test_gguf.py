"""What a model file tells is read in a child process, and a damaged or hostile file stays there."""

from __future__ import annotations

import resource
import struct
from pathlib import Path

import pytest

from chatproxy.adapters.gguf import read_model
from chatproxy.core.fitting import Shape
from chatproxy.core.models import ModelFacts
from chatproxy.errors import ConfigurationError
from tests.doubles.gguf import Value, write_gguf

VALUES: dict[str, Value] = {
    "llama.context_length": 8192,
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "word", "<b>", "<｜User｜>"],
    "tokenizer.ggml.token_type": [2, 3, 3, 1, 4, 3],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": "{{ messages }}",
}
SHAPE = Shape("llama", 32, 4096, 32, (8,) * 32, 128, 128, 0, 6, window_key=128, window_value=128, context=8192)


def test_template_control_tokens_and_context_of_a_model_file(tmp_path: Path) -> None:
    facts = read_model(write_gguf(tmp_path / "m.gguf", values=VALUES))
    assert facts == ModelFacts(
        architecture="llama",
        context_length=8192,
        chat_template="{{ messages }}",
        bos="<s>",
        eos="</s>",
        adds_bos=True,
        control=("<s>", "</s>", "<｜User｜>"),
        user_defined=("<b>",),
        shape=SHAPE,
    )


def test_a_file_that_tells_little_is_read_all_the_same(tmp_path: Path) -> None:
    facts = read_model(write_gguf(tmp_path / "m.gguf"))
    assert facts is not None and facts.shape is not None
    assert facts == ModelFacts(architecture="llama", shape=facts.shape)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Heads of their own width, as Gemma's; heads that differ by layer, as OpenELM's; a file that does not tell.
        ({"llama.attention.key_length": 256, "llama.attention.value_length": 128}, 2 * 32 * 8 * (256 + 128)),
        ({"llama.attention.head_count_kv": [8] * 16 + [4] * 16}, 2 * (16 * 8 + 16 * 4) * (128 + 128)),
        ({"llama.attention.head_count": 0}, None),
    ],
)
def test_what_a_token_takes_in_the_cache(tmp_path: Path, values: dict[str, Value], expected: int | None) -> None:
    facts = read_model(write_gguf(tmp_path / "m.gguf", values=values))
    assert facts is not None
    assert (facts.shape.cache_bytes(256) // 256 if facts.shape else None) == expected


def test_a_vocabulary_of_the_largest_size_is_read_within_the_limits(tmp_path: Path) -> None:
    """Gemma 3 has 262,144 tokens and half a million merges."""
    tokens = ["<bos>", *(f"token{n}" for n in range(262_143))]
    values = VALUES | {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] + [1] * 262_143,
        "tokenizer.ggml.merges": [f"a{n} b{n}" for n in range(514_000)],
        "tokenizer.ggml.bos_token_id": 0,
    }
    path = write_gguf(tmp_path / "m.gguf", values=values)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts = read_model(path)
    assert facts is not None and (facts.bos, facts.control) == ("<bos>", ("<bos>",))
    # The reader's memory has gone back with its process.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_a_file_of_another_kind_tells_nothing(tmp_path: Path) -> None:
    for head in (b"tjgg\x03\x00\x00\x00", b"", b"GGU"):
        (tmp_path / "old.bin").write_bytes(head)
        assert read_model(tmp_path / "old.bin") is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"MODEL_FILE='.*none\.gguf' cannot be read: No such file"):
        read_model(tmp_path / "none.gguf")


def _head(pairs: int, rest: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, pairs) + rest


KEY = struct.pack("<Q", 21) + b"tokenizer.ggml.tokens"


@pytest.mark.parametrize(
    "content",
    [
        b"GGUF",
        b"GGUF" + struct.pack("<IQQ", 99, 0, 0),
        _head(1 << 60, b""),
        _head(1, KEY + struct.pack("<IIQ", 9, 8, 1 << 60)),  # as many texts as no file holds
        _head(1, KEY + struct.pack("<IIQ", 9, 5, 1 << 62)),  # as many numbers
        _head(1, KEY + struct.pack("<IIQQ", 9, 8, 1, 1 << 63)),  # a text longer than the file
        _head(1, KEY + struct.pack("<II", 9, 9) + struct.pack("<Q", 1) + b"\xff" * 64),  # a list of lists
        _head(1, struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc" + struct.pack("<I", 77)),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"MODEL_FILE='.*bad\.gguf' cannot be read: [^\n]+$"):
        read_model(tmp_path / "bad.gguf")


def test_a_file_that_wants_more_memory_than_any_model_is_refused(tmp_path: Path) -> None:
    path, size = tmp_path / "big.gguf", 1 << 29
    path.write_bytes(_head(1, KEY + struct.pack("<IIQQ", 9, 8, 1, size)))
    with path.open("r+b") as file:
        file.truncate(size + 4096)  # a hole: it takes no room on the disk
    with pytest.raises(ConfigurationError, match="it needs too much memory"):
        read_model(path)


def test_every_prefix_of_a_file_is_refused_or_read(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf", values=VALUES, tensor_bytes=0).read_bytes()
    end = whole.rindex(b"{{ messages }}")
    for size in (30, 200, end - 1, end + 7):
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        with pytest.raises(ConfigurationError):
            read_model(tmp_path / "cut.gguf")
