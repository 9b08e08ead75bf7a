"""Whoever asks much waits behind itself: somebody else's single question goes next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lib.native import NativeStack
from tests.bench.fairness import GOAL, MANY, SETTINGS, overtake
from tests.doubles.paced_engine import PacedEngine
from tests.integration.proxy.conftest import Proxy, running_proxy


@pytest.fixture
def slow_proxy(native: NativeStack, tmp_path: Path) -> Iterator[Proxy]:
    """One slot, and answers of a tenth of a second: long enough for fifty to stand in the queue."""
    with (
        PacedEngine(rate=200, tokens=20) as engine,
        running_proxy(native, tmp_path, ENGINE_URL=engine.url, **SETTINGS) as proxy,
    ):
        yield proxy


def test_one_question_is_answered_before_another_keys_fifty(slow_proxy: Proxy) -> None:
    outcome = overtake(slow_proxy, many=MANY)
    assert outcome.before <= GOAL
    assert outcome.statuses == (200,) * (MANY + 1)
