"""The memory that is reckoned for a model is what llama.cpp really takes, after a long prompt in every slot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.fit import Fit, measure
from tests.doubles import made_models

# More than a single slot, and an odd number of the cells that a cache is rounded up to.
CONTEXT, SLOTS = 640, 2
MADE = {made.name: made for made in made_models.MADE}


def within_a_tenth(fit: Fit) -> bool:
    return abs(fit.predicted - fit.used) <= 0.1 * fit.used


def test_the_starter_model(starter_model: Path) -> None:
    fit = measure(starter_model, CONTEXT, SLOTS)
    assert within_a_tenth(fit), fit


@pytest.mark.parametrize("name", ["grouped", "windowed", "layered"])
def test_models_of_other_shapes(name: str, tmp_path: Path) -> None:
    fit = measure(made_models.write(MADE[name], tmp_path), CONTEXT, SLOTS)
    assert within_a_tenth(fit), fit


@pytest.mark.long
@pytest.mark.parametrize("name", ["wide", "reordered"])
@pytest.mark.parametrize(("context", "slots"), [(512, 4), (2048, 1)])
def test_other_kinds_of_weights_contexts_and_slots(name: str, context: int, slots: int, tmp_path: Path) -> None:
    fit = measure(made_models.write(MADE[name], tmp_path), context, slots)
    assert within_a_tenth(fit), fit
