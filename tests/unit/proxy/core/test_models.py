"""What a model takes in memory: the console and `make up` judge by the same figures."""

from __future__ import annotations

import pytest

from chatproxy.core import models
from scripts.lib import sizing
from scripts.lib.models import Model, load_catalog

CATALOG = load_catalog()


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma-3-4b-it", "mixtral-8x7b-instruct", ""])
@pytest.mark.parametrize(("context", "conversations"), [(256, 1), (4096, 4), (131_072, 1)])
def test_the_figures_are_those_of_make_up(name: str, context: int, conversations: int) -> None:
    model = CATALOG[name] if name else Model("own", "Own", "own.bin", 4 << 30, "metharme")
    projector = model.projector.size if model.projector else 0
    need = models.engine_need(model.size, model.shape, context, conversations, projector)
    assert need == sizing.engine_need(model, context, conversations, 64).total


def test_the_services_leave_as_much_as_make_up_says() -> None:
    assert models.left_for_engine(8 << 30) == sizing.left_for_engine(8 << 30)
