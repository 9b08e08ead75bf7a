"""What is counted of an answer, however it ends, and charts over what was stored."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core.access import Caller, Limits, Visit
from chatproxy.core.engines import Engines
from chatproxy.core.generation import GenerationEvent, Generations, Token
from chatproxy.core.limits import Limiter
from chatproxy.core.measures import FIRST_TOKEN_S, MOST_POINTS, Answer, Figures, end_by, minutes
from chatproxy.core.running import Run
from chatproxy.core.slots import Gate
from chatproxy.core.types import EngineEvent, Finish, Generation, Rule, Text
from chatproxy.errors import (
    Busy,
    ContextTooLong,
    EngineFailure,
    InvalidRequest,
    RateLimited,
    StorageUnavailable,
    TakenOver,
)
from tests.unit.proxy.core.test_answer import Stage
from tests.unit.proxy.fakes import ASSISTANT, FakeBots, FakeEngine, says
from tests.unit.proxy.memory import MemoryMinutes, MemoryUsage

CALLER = Caller("key:a", "key:a")
ORDER = Generation("a prompt of twenty chars", 100, ())
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Written:
    """Implements Measures by writing everything down."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.waiting: list[int] = []
        self.visitors: list[str] = []

    def asked(self, visitor: str) -> None:
        self.visitors.append(visitor)

    def queued(self, waiting: int) -> None:
        self.waiting.append(waiting)

    def answered(self, answer: Answer) -> None:
        self.answers.append(answer)

    def requested(self, family: str, status: int) -> None:
        raise AssertionError("that is the web's")


class Bench:
    """Generations over one engine with one slot, a queue of one, and a clock that is moved by hand."""

    def __init__(self, engine: FakeEngine, *, requests_per_minute: int | None = None) -> None:
        self.seen, self.moment = Written(), 100.0
        self.gate = Gate(1, 1, clock=lambda: self.moment)
        limiter = Limiter(MemoryUsage(), key=Limits(requests_per_minute))
        self.generations = Generations(Engines([engine]), self.gate, limiter, self.seen, clock=lambda: self.moment)

    def run(self, run: Run | None = None, bot: str = "mira") -> None:
        with self.generations.enter(CALLER, bot=bot) as place:
            list(self.generations.run(place, ORDER, trim=True, run=run or Run()))

    @property
    def answer(self) -> Answer:
        (answer,) = self.seen.answers
        return answer


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_an_answer_is_counted_with_its_bot_its_end_and_the_engines_tokens(reason: str) -> None:
    bench = Bench(FakeEngine([Text("three words here"), Finish("stop" if reason == "stop" else "length", 20, 3)]))
    bench.run()
    assert bench.answer == Answer("stop" if reason == "stop" else "length", "mira", 0.0, 0.0, 20, 3)


def test_seconds_to_the_first_token_count_from_the_place_in_the_queue() -> None:
    def slow(_: Generation) -> list[EngineEvent | Exception]:
        bench.moment += 4
        return says("late")

    bench = Bench(FakeEngine(slow))
    other = bench.generations.enter(Caller("key:b", "key:b"))
    place = bench.generations.enter(CALLER)
    bench.moment += 3
    other.__exit__(None, None, None)
    with place:
        for event in bench.generations.run(place, ORDER, trim=True, run=Run()):
            bench.moment += 10 if isinstance(event, Token) else 0
    assert (bench.answer.waited_s, bench.answer.first_token_s) == (3.0, 7.0)
    assert bench.seen.waiting == [0, 1]


def test_a_client_that_leaves_has_cancelled_and_what_was_generated_counts() -> None:
    bench = Bench(FakeEngine([Text("one"), Text(" two"), Text(" three"), Finish("stop")]))

    def answer() -> Generator[GenerationEvent]:
        with bench.generations.enter(CALLER) as place:
            yield from bench.generations.run(place, ORDER, trim=True, run=Run())

    events = answer()
    while not isinstance(next(events), Token):
        pass
    events.close()
    assert (bench.answer.end, bench.answer.completion_tokens) == ("cancelled", 1)


def test_who_cancels_by_name_has_cancelled() -> None:
    run = Run()
    run.cancel()
    bench = Bench(FakeEngine())
    bench.run(run)
    assert (bench.answer.end, bench.answer.first_token_s) == ("cancelled", None)


def test_an_engine_that_breaks_has_failed_and_what_there_was_is_counted_as_a_guess() -> None:
    bench = Bench(FakeEngine([Text("one"), Text(" two"), EngineFailure("died")]))
    with pytest.raises(EngineFailure):
        bench.run()
    assert (bench.answer.end, bench.answer.prompt_tokens, bench.answer.completion_tokens) == ("failed", 6, 2)


def test_a_full_queue_refuses() -> None:
    bench = Bench(FakeEngine())
    held = [bench.generations.enter(Caller(f"key:{name}", f"key:{name}")) for name in "bc"]
    with pytest.raises(Busy):
        bench.run()
    assert bench.answer == Answer("refused", "mira")
    assert len(held) == 2


def test_a_budget_refuses() -> None:
    bench = Bench(FakeEngine(), requests_per_minute=1)
    bench.run()
    with pytest.raises(RateLimited):
        bench.run()
    assert [answer.end for answer in bench.seen.answers] == ["stop", "refused"]


def test_visitors_are_seen_and_keys_are_not() -> None:
    bench = Bench(FakeEngine())
    visit = Visit("site_a", "0" * 32, frozenset({"https://shop.example"}))
    bench.generations.permit(Caller("site:x/visitor:y", "site:x/visitor:y", visit=visit)).release()
    bench.run()
    assert bench.seen.visitors == ["site:x/visitor:y"]


def test_a_whole_reply_is_counted_once_for_its_bot() -> None:
    stage = Stage()
    stage.done(bot="mira")
    assert stage.tally.totals().answers == {("stop", "mira"): 1}


def test_what_a_rule_answers_is_an_answer_that_no_engine_gave() -> None:
    rules = (Rule(("hello",), "Hi there."),)
    stage = Stage(bots=FakeBots(replace(ASSISTANT, rules=rules)))
    stage.done("hello")
    totals = stage.tally.totals()
    assert totals.answers == {("rule", "assistant"): 1}
    assert (totals.prompt_tokens, totals.first_token.sum_s) == (0, 0)


def test_a_question_that_cannot_fit_is_refused_and_an_engine_that_cannot_count_has_failed() -> None:
    stage = Stage(context=256)
    with pytest.raises(ContextTooLong):
        stage.done("word " * 1000)
    stage.engine.count_error = EngineFailure("gone")
    with pytest.raises(EngineFailure):
        stage.done("word " * 200)
    assert stage.tally.totals().answers == {("refused", "assistant"): 1, ("failed", "assistant"): 1}


def test_a_visitor_who_leaves_a_reply_has_cancelled() -> None:
    stage = Stage(FakeEngine(says(*(["word "] * 50))))
    events = stage.ask()
    while not isinstance(next(events), Token):
        pass
    events.close()
    assert stage.tally.totals().answers == {("cancelled", "assistant"): 1}


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (GeneratorExit(), "cancelled"),
        (TakenOver(), None),
        (ContextTooLong(), "refused"),
        (RateLimited(), "refused"),
        (Busy(), "refused"),
        (EngineFailure(), "failed"),
        (StorageUnavailable(), "failed"),
        (ValueError(), "failed"),
    ],
)
def test_every_exception_is_one_end(error: BaseException, end: str | None) -> None:
    assert end_by(error) == end


# --- figures --------------------------------------------------------------------------------------------------------


def _figures(*seconds: float) -> Figures:
    counts = [0] * (len(FIRST_TOKEN_S) + 1)
    for each in seconds:
        counts[next((i for i, bound in enumerate(FIRST_TOKEN_S) if each <= bound), len(FIRST_TOKEN_S))] += 1
    return Figures(first_token=tuple(counts))


def test_a_quantile_at_the_end_of_its_bucket_is_not_rounded_past_it() -> None:
    assert _figures(1.0, 1.0, 1.0, 0.0625, 0.0625, 0.0625).first_token_s(0.5) == 0.1


def test_without_answers_there_is_no_median() -> None:
    assert Figures().first_token_s(0.5) is None


@given(st.lists(st.floats(0.001, 299), min_size=1, max_size=50), st.sampled_from([0.5, 0.95]))
def test_quantiles_lie_in_the_bucket_of_the_true_value(seconds: list[float], share: float) -> None:
    rank = next(i for i in range(1, len(seconds) + 1) if i >= share * len(seconds))
    truth = sorted(seconds)[rank - 1]
    told = _figures(*seconds).first_token_s(share)
    upper = next(bound for bound in FIRST_TOKEN_S if truth <= bound)
    lower = max((bound for bound in FIRST_TOKEN_S if bound < truth), default=0.0)
    assert told is not None
    assert lower <= told <= upper


def test_what_took_longer_than_the_last_bound_tells_that_bound() -> None:
    assert _figures(1000.0).first_token_s(0.5) == FIRST_TOKEN_S[-1]


def test_spans_add_up_and_the_longest_queue_is_the_longest() -> None:
    both = Figures(answers=2, waiting=5, busy_s=1.5).plus(Figures(answers=1, waiting=3, busy_s=2.0))
    assert both == Figures(answers=3, waiting=5, busy_s=3.5)


# --- charts ---------------------------------------------------------------------------------------------------------


def test_empty_minutes_are_zeros() -> None:
    store = MemoryMinutes()
    store.add(NOON + timedelta(minutes=1), Figures(answers=3))
    points = minutes(store, NOON, NOON + timedelta(minutes=3))
    assert [point.figures.answers for point in points] == [0, 3, 0]
    assert [point.at for point in points] == [NOON + timedelta(minutes=n) for n in range(3)]


def test_steps_begin_with_full_ones_and_cover_the_whole_span() -> None:
    store = MemoryMinutes()
    for minute in (0, 59, 60, 119, 120):
        store.add(NOON + timedelta(minutes=minute), Figures(answers=1, waiting=minute))
    points = minutes(store, NOON + timedelta(minutes=30), NOON + timedelta(minutes=90), timedelta(hours=1))
    assert [(point.at, point.figures.answers) for point in points] == [(NOON, 2), (NOON + timedelta(hours=1), 2)]
    assert points[0].figures.waiting == 59


def test_a_chart_has_no_end_of_points() -> None:
    with pytest.raises(InvalidRequest, match=str(MOST_POINTS)):
        minutes(MemoryMinutes(), NOON - timedelta(days=90), NOON)
    with pytest.raises(InvalidRequest, match="since, until"):
        minutes(MemoryMinutes(), NOON, NOON)


@pytest.mark.parametrize("step", [timedelta(0), timedelta(seconds=90), -timedelta(minutes=1)])
def test_a_step_is_whole_minutes(step: timedelta) -> None:
    with pytest.raises(InvalidRequest, match="step"):
        minutes(MemoryMinutes(), NOON, NOON + timedelta(hours=1), step)
