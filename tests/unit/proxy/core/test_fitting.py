"""Memory, layers and speed of a model, by its shape. What llama.cpp really takes stands in tests/integration/images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chatproxy.core.fitting import (
    CHECKPOINTS,
    DECODING,
    MB,
    Shape,
    active_bytes,
    layers_on_gpu,
    need,
    parameters,
    tokens_per_second,
)

LLAMA_2_7B = Shape("llama", 32, 4096, 32, (32,) * 32, 128, 128, 11_008, 32_000)
WEIGHTS = 4_081_004_224
MIXTRAL = Shape("llama", 32, 4096, 32, (8,) * 32, 128, 128, 14_336, 32_000, experts=8, experts_used=2)


def gguf(architecture: str = "llama", **more: object) -> dict[str, object]:
    plain = {"block_count": 4, "embedding_length": 64, "attention.head_count": 8, "feed_forward_length": 128}
    told = {f"{architecture}.{name}": value for name, value in plain.items()}
    told |= {f"{architecture}.{name.replace('__', '.')}": value for name, value in more.items()}
    return {"general.architecture": architecture, "tokenizer.ggml.tokens": 1000, **told}


def test_a_llama_2_takes_half_a_megabyte_for_a_token() -> None:
    assert LLAMA_2_7B.cache_bytes(4096) == 4096 * MB // 2
    two = need(WEIGHTS, LLAMA_2_7B, context=4096, slots=2, batch=64)
    assert two.weights == WEIGHTS and two.cache == 4096 * MB
    assert two.total == two.weights + two.cache + two.compute + two.base < two.aside


@pytest.mark.parametrize("shape", [LLAMA_2_7B, None])
def test_a_model_that_sees_has_room_set_aside_for_decoding(shape: Shape | None) -> None:
    blind = need(WEIGHTS, shape, context=4096, slots=1, batch=64)
    seeing = need(WEIGHTS, shape, context=4096, slots=1, batch=64, projector=10 * MB)
    assert seeing.total == blind.total + 10 * MB
    assert seeing.aside == seeing.total * 11 // 10 + DECODING and blind.decoding == 0


def test_cells_come_in_multiples_of_256() -> None:
    assert LLAMA_2_7B.cache_bytes(257) == LLAMA_2_7B.cache_bytes(512) == 2 * LLAMA_2_7B.cache_bytes(1)


def test_heads_are_told_once_or_for_each_layer() -> None:
    one = Shape.of(gguf(attention__head_count_kv=2))
    each = Shape.of(gguf(attention__head_count_kv=[2, 2, 4, 0]))
    assert one and each and (one.kv_heads, each.kv_heads) == ((2,) * 4, (2, 2, 4, 0))
    assert one.cache_bytes(256) == each.cache_bytes(256) == 256 * 8 * (8 + 8) * 2


def test_a_head_that_tells_too_little_has_no_shape() -> None:
    assert Shape.of({"general.architecture": "llama", "llama.block_count": 4}) is None
    assert Shape.of({}) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"llama.block_count": 4_000_000_000},
        {"llama.block_count": -1},
        {"llama.embedding_length": -64},
        {"llama.embedding_length": 1, "llama.feed_forward_length": 0, "tokenizer.ggml.tokens": 0},
    ],
)
def test_a_head_that_is_like_no_model_has_no_shape(wrong: dict[str, object]) -> None:
    assert Shape.of(gguf() | wrong) is None


def test_what_is_below_nothing_is_not_told() -> None:
    assert Shape.of(gguf(attention__head_count_kv=-1, attention__key_length=-5)) == Shape.of(gguf())
    told = Shape.of(gguf(attention__head_count_kv=[2, -2, 4, 0]))
    assert told and told.kv_heads == (2, 0, 4, 0)


def test_lists_of_the_tokenizer_are_counted_whether_they_are_there_or_only_their_length() -> None:
    counted = Shape.of(gguf() | {"tokenizer.ggml.merges": 7})
    listed = Shape.of(gguf() | {"tokenizer.ggml.tokens": ["a"] * 1000, "tokenizer.ggml.merges": ["a b"] * 7})
    assert counted == listed and counted is not None and (counted.vocabulary, counted.merges) == (1000, 7)


def test_only_some_layers_of_gemma_3_see_everything() -> None:
    told = {"block_count": 12, "attention__sliding_window": 512, "attention__head_count_kv": 1}
    shape = Shape.of(gguf("gemma3", **told))
    assert shape is not None and [i for i, narrow in enumerate(shape.windowed) if not narrow] == [5, 11]
    layer = 1 * (8 + 8) * 2
    # 512 tokens of the window and 64 of the batch make 768 cells, for ten of the layers.
    assert shape.cache_bytes(8192, 64) == layer * (2 * 8192 + 10 * 768)
    kept = need(1, shape, context=8192, slots=3, batch=64).cache
    assert kept == 3 * (shape.cache_bytes(8192, 64) + CHECKPOINTS * layer * 10 * 512)


def test_a_pattern_in_the_file_wins_and_other_architectures_have_none() -> None:
    pattern = [True, False, False, True]
    told = Shape.of(gguf("gemma4", attention__sliding_window=256, attention__sliding_window_pattern=pattern))
    assert told is not None and told.windowed == tuple(pattern)
    # llama.cpp gives a Mistral of version 0.1 its whole context, whatever its file says.
    mistral = Shape.of(gguf("llama", attention__sliding_window=4096))
    assert mistral is not None and (mistral.window, mistral.windowed) == (0, ())


def test_layers_that_share_their_keys_take_nothing() -> None:
    shape = Shape.of(gguf("gemma4", attention__shared_kv_layers=1, attention__head_count_kv=2))
    assert shape is not None and shape.kv_heads == (2, 2, 2, 0)


def test_the_published_shape_is_the_files_own() -> None:
    facts = {"layers": 4, "width": 64, "heads": 8, "kv_heads": 2, "feed_forward": 128, "vocabulary": 1000}
    assert Shape.published(facts, 2048) == Shape.of(gguf(attention__head_count_kv=2, context_length=2048))
    with pytest.raises(KeyError, match="layers"):
        Shape.published({**facts, "layers": "four"})


def test_a_model_that_tells_nothing_is_reckoned_larger_than_llama_2() -> None:
    upper = need(WEIGHTS, None, context=4096, slots=1, batch=64)
    assert upper.total > need(WEIGHTS, LLAMA_2_7B, context=4096, slots=1, batch=64).total * 0.99


def test_saved_prompts_projectors_and_adapters_are_added() -> None:
    plain = need(WEIGHTS, LLAMA_2_7B, context=512, slots=1, batch=64)
    more = need(WEIGHTS, LLAMA_2_7B, context=512, slots=1, batch=64, prompt_cache=7, projector=20, adapters=300)
    assert (more.cache - plain.cache, more.weights - plain.weights) == (7, 320)


def test_a_larger_batch_takes_more_room_to_compute_in() -> None:
    small, large = (need(WEIGHTS, LLAMA_2_7B, context=512, slots=1, batch=batch).compute for batch in (64, 512))
    assert small < large < 8 * small


def test_a_token_reads_two_of_eight_experts() -> None:
    assert 46e9 < parameters(MIXTRAL) < 47e9
    share = active_bytes(26_441_533_376, MIXTRAL) / 26_441_533_376
    # 12.9 of 46.7 thousand million.
    assert share == pytest.approx(12.9 / 46.7, abs=0.01)
    assert active_bytes(WEIGHTS, LLAMA_2_7B) == WEIGHTS


def test_speed_is_bandwidth_by_weights() -> None:
    assert tokens_per_second(4_000_000_000, 40_000_000_000) == 10
    assert tokens_per_second(0, 1) == 0


GB = 1 << 30


def layers(*free: int, shape: Shape | None = LLAMA_2_7B, context: int = 4096, slots: int = 1) -> int:
    return layers_on_gpu(WEIGHTS, shape, [gb * GB for gb in free], context=context, slots=slots, batch=512)


def test_the_output_is_one_more_layer() -> None:
    assert layers(24) == LLAMA_2_7B.layers + 1
    assert 0 < layers(4) < LLAMA_2_7B.layers


def test_more_memory_means_more_layers_and_never_fewer() -> None:
    found = [layers(gb) for gb in range(13)]
    assert found == sorted(found) and found[0] == 0 and found[-1] == 33


def test_two_cards_take_more_than_one_and_less_than_their_sum() -> None:
    assert layers(4) < layers(4, 4) <= layers(8)


def test_conversations_take_their_share() -> None:
    assert layers(8, slots=4) < layers(8, slots=1)
    assert layers(8, context=16_384) < layers(8, context=2048)


def test_windows_leave_room_for_more_layers() -> None:
    windowed = replace(LLAMA_2_7B, window=512, windowed=tuple(i % 6 < 5 for i in range(32)), window_key=128)
    windowed = replace(windowed, window_value=128)
    assert layers(12, shape=windowed, context=16_384) > layers(12, context=16_384)


def test_nothing_is_put_on_cards_without_a_shape_or_without_cards() -> None:
    assert layers(24, shape=None) == 0
    assert layers() == 0
