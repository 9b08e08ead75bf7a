"""One generation: fails over before the first token, is bounded whatever the engine does, and is booked."""

from __future__ import annotations

import pytest

from chatproxy.core.access import Caller
from chatproxy.core.engines import AnyEngine, Engines
from chatproxy.core.generation import Finished, GenerationEvent, Generations, Token
from chatproxy.core.limits import Limiter, Permit
from chatproxy.core.running import Run
from chatproxy.core.slots import Gate
from chatproxy.core.types import Finish, Generation, Text
from chatproxy.errors import Busy, EngineFailure, EngineTimeout, Unhealthy
from tests.unit.proxy.fakes import FakeCheck, FakeEngine, says
from tests.unit.proxy.memory import MemoryUsage

CALLER = Caller("key:a", "key:a")


class Books(Limiter):
    """A limiter that only writes down what is booked."""

    def __init__(self) -> None:
        super().__init__(MemoryUsage())
        self.spent: list[int] = []
        self.open = 0

    def admit(self, caller: Caller, *, again: bool = False) -> Permit:
        self.open += 1
        books = self

        class Booked(Permit):
            def spend(self, tokens: int) -> None:
                books.spent.append(tokens)

            def release(self) -> None:
                books.open -= 1

        return Booked()


class Bench:
    def __init__(self, *engines: FakeEngine, queue: int = 2) -> None:
        self.engines, self.books = engines, Books()
        self.gate = Gate(1, queue, engines=len(engines))
        self.generations = Generations(Engines(engines), self.gate, self.books)

    def run(self, *, max_tokens: int = 100, stops: tuple[str, ...] = ()) -> list[GenerationEvent]:
        with self.generations.enter(CALLER) as place:
            order = Generation("a prompt of five words", max_tokens, stops)
            return list(self.generations.run(place, order, trim=True, run=Run()))

    def assert_free(self) -> None:
        assert (self.gate.status().busy, self.gate.status().waiting, self.books.open) == (0, 0, 0)


def text_of(events: list[GenerationEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


@pytest.mark.parametrize("failure", [EngineFailure("refused"), EngineTimeout("silent"), Busy("occupied")])
def test_another_engine_answers_when_the_first_fails_before_its_first_token(failure: Exception) -> None:
    bench = Bench(FakeEngine([failure]), FakeEngine(says("fine")))
    assert text_of(bench.run()) == "fine"
    bench.assert_free()


def test_a_failure_in_mid_stream_is_told_and_not_begun_again_elsewhere() -> None:
    bench = Bench(FakeEngine([Text("half"), EngineFailure("died")]), FakeEngine(says("other")))
    with pytest.raises(EngineFailure):
        bench.run()
    assert bench.engines[1].generations == []
    bench.assert_free()


def test_when_every_engine_fails_the_last_failure_is_told() -> None:
    bench = Bench(FakeEngine([EngineFailure("first")]), FakeEngine([EngineFailure("second")]))
    with pytest.raises(EngineFailure, match="second"):
        bench.run()
    bench.assert_free()


def test_tokens_are_counted_by_whichever_engine_answers() -> None:
    dead, alive = FakeEngine(), FakeEngine()
    dead.count_error = EngineFailure("gone")
    engines = Engines([dead, alive])
    assert engines.count_tokens("two words") == 2
    assert engines.count_tokens("two words") == 2
    alive.count_error = EngineFailure("gone too")
    with pytest.raises(EngineFailure):
        engines.count_tokens("two words")


def test_an_engine_that_ignores_the_length_is_cut_off() -> None:
    endless = FakeEngine([Text("word ")] * 100_000)
    bench = Bench(endless)
    events = bench.run(max_tokens=10)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "length"
    assert len(events) < 100
    assert endless.closed == 1


def test_an_engine_that_sends_too_much_text_is_cut_off() -> None:
    events = Bench(FakeEngine([Text("x" * 100_000)] * 50)).run(max_tokens=10)
    assert len(text_of(events)) == 100_000


def test_what_an_answer_took_is_booked() -> None:
    bench = Bench(FakeEngine([Text("three words here"), Finish("stop", 20, 3)]))
    bench.run()
    assert bench.books.spent == [23]
    bench.assert_free()


def test_an_answer_that_broke_off_is_booked_as_a_guess() -> None:
    bench = Bench(FakeEngine([Text("one"), Text(" two"), EngineFailure("died")]))
    with pytest.raises(EngineFailure):
        bench.run()
    assert bench.books.spent == [len("a prompt of five words") // 4 + 2]


def test_one_engine_that_is_well_is_enough() -> None:
    AnyEngine([FakeCheck("engine-1", "down"), FakeCheck("engine-2")]).check()
    with pytest.raises(Unhealthy, match="engine-1: down; engine-2: away"):
        AnyEngine([FakeCheck("engine-1", "down"), FakeCheck("engine-2", "away")]).check()
