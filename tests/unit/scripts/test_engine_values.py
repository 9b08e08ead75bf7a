"""Threads, batch and prompt cache where they are left to the program."""

from __future__ import annotations

import pytest

from scripts.lib import engine_values

MB = 2**20


@pytest.mark.parametrize(
    ("cores", "given", "threads"), [(8, "auto", 8), (8, "4", 4), (8, "16", 8), (8, "2.5", 2), (8, "0.5", 1)]
)
def test_threads_are_the_cores_that_the_container_may_use(cores: int, given: str, threads: int) -> None:
    assert engine_values.threads(cores, given) == threads


def test_llama_cpp_reads_in_small_batches_on_a_processor_alone() -> None:
    assert engine_values.batch("llamacpp", gpu=False) == 64
    assert engine_values.batch("llamacpp", gpu=True) == 512
    assert engine_values.batch("llamacpp", gpu=False, vision=True) == 512
    assert engine_values.batch("koboldcpp", gpu=False) == 512


def test_the_prompt_cache_takes_half_of_what_is_left_and_no_more_than_twelve_conversations() -> None:
    assert engine_values.prompt_cache(1000 * MB, 100 * MB) == 500 * MB
    assert engine_values.prompt_cache(8000 * MB, 100 * MB) == 1200 * MB
    assert engine_values.prompt_cache(3 * MB, 100 * MB) == 1 * MB
    assert engine_values.prompt_cache(-5 * MB, 100 * MB) == 0
