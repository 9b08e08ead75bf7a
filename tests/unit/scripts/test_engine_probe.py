"""koboldcpp timed by the probe, over the double that speaks its protocol; llama.cpp's server is timed for real."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from scripts.lib import engine_probe
from scripts.lib.engine_probe import Engine
from tests.doubles.koboldcpp import KoboldcppDouble

WORDS = tuple(f" word{number}" for number in range(400))


@pytest.fixture(params=["1.76", "1.115.1"])
def double(request: pytest.FixtureRequest) -> Iterator[KoboldcppDouble]:
    def reply(parameters: object) -> tuple[str, ...]:
        return WORDS[: getattr(parameters, "max_length", 8)]

    with KoboldcppDouble(
        request.param, reply=reply, first_event_delay=0.0, first_token_delay=0.05, token_delay=0.002
    ) as running:
        yield running


def test_koboldcpp_is_asked_for_just_so_many_tokens_and_timed_by_its_own_clock(double: KoboldcppDouble) -> None:
    engine = Engine("koboldcpp", double.port)
    assert engine.ready()
    answer = engine.ask([engine.text(40)], 16)
    assert answer.prompt >= 40
    assert answer.text.startswith(" word0 word1")
    assert 0.05 <= answer.first <= answer.last
    assert engine.generated_per_second(answer) == pytest.approx(500)  # 0.002 s each, as it says itself


def test_one_round_has_a_cold_and_a_warm_answer_and_several_visitors(double: KoboldcppDouble) -> None:
    found = engine_probe.visits(Engine("koboldcpp", double.port), 40, 8, [1, 2])
    assert set(found["visitors"]) == {"1", "2"}
    assert found["cold"] >= 0.05 and found["warm"] > 0 and found["read"] > 0
    # One slot: the second of two has to wait for the first one's whole answer.
    two = found["visitors"]["2"]
    assert two["slowest"] > two["first"] > found["cold"] * 0.9


def test_a_program_asks_and_gets_json(double: KoboldcppDouble, capsys: pytest.CaptureFixture[str]) -> None:
    order = {"api": "koboldcpp", "port": double.port, "work": "rates", "prompt": 40, "tokens": 8, "visitors": 2}
    assert engine_probe.main([json.dumps(order)]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"prompt", "generated", "together"}


def test_an_engine_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    order = {"api": "koboldcpp", "port": 1, "work": "rates", "prompt": 40, "tokens": 8, "visitors": 1}
    assert engine_probe.main([json.dumps(order)]) == 1
    assert capsys.readouterr().err.startswith("ConnectionRefusedError")
