"""Warm start: every bot's beginning is read before the first visitor comes, and never at a visitor's cost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace

import pytest

from chatproxy.core.prompts import Formats
from chatproxy.core.slots import Gate
from chatproxy.core.types import Bot, EngineEvent, Finish, Generation, Idle, Text, Turn
from chatproxy.core.warm_ports import CacheState
from chatproxy.core.warming import Warming
from chatproxy.errors import ContextTooLong, EngineFailure, Unhealthy
from tests.unit.proxy.fakes import ASSISTANT, MIRA, FakeBots, FakeEngine, says
from tests.unit.proxy.waiting import until

ZOE = Bot("zoe", "Zoe", system="You are brief.", format="chatml")
FORMATS = Formats()


class CachingEngine(FakeEngine):
    """Implements Warmable: each generation makes it one older, and fills the slot that it names."""

    name = "engine"

    def __init__(self, *, slots: int = 0) -> None:
        super().__init__(says("x", reason="length"))
        self.age: int | None = 0
        self.slots = slots
        self.empty = list(range(slots))
        self.down = False
        self.checked = 0

    def generate(self, generation: Generation) -> Generator[EngineEvent]:
        self.age = None if self.age is None else self.age + 1
        if self.empty:
            self.empty.remove(self.empty[-1] if generation.slot is None else generation.slot)
        yield from super().generate(generation)

    def check(self) -> None:
        self.checked += 1
        if self.down:
            raise Unhealthy("it is not there")

    def cache(self) -> CacheState | None:
        return None if self.age is None else CacheState(self.age, tuple(self.empty))

    def restart(self) -> None:
        self.age, self.empty = 0, list(range(self.slots))

    def read(self) -> list[str]:
        """The prompts since the last look."""
        prompts = [generation.prompt for generation in self.generations]
        self.generations.clear()
        return prompts


@dataclass
class Desk:
    """A warming that is told to look."""

    engine: CachingEngine = field(default_factory=CachingEngine)
    bots: FakeBots = field(default_factory=lambda: FakeBots(ZOE, ASSISTANT, MIRA))
    gate: Gate = field(default_factory=lambda: Gate(2, 8))

    def __post_init__(self) -> None:
        self.warming = Warming(
            self.engine, self.bots, FORMATS, self.gate.status, lambda: 2048, default_bot="assistant", every_s=0.01
        )

    def look(self) -> list[str]:
        """Look once; returns what the engine has read."""
        self.warming.look()
        return self.engine.read()


def beginning(bot: Bot) -> str:
    return FORMATS.get(bot.format).beginning(bot)


ALL = [beginning(bot) for bot in (MIRA, ZOE, ASSISTANT)]


def test_every_bots_beginning_is_read_once_the_default_bots_last() -> None:
    desk = Desk()
    assert desk.look() == ALL
    assert desk.look() == []
    for bot, read in zip((MIRA, ZOE, ASSISTANT), ALL, strict=True):
        assert FORMATS.get(bot.format).render(bot, [Turn("user", "Hi")]).text.startswith(read)


def test_it_costs_the_engine_one_token_each_in_its_whole_window() -> None:
    desk = Desk()
    desk.warming.look()
    assert {(order.max_tokens, order.context_size, order.stops) for order in desk.engine.generations} == {(1, 2048, ())}


def test_nothing_is_read_before_the_engine_is_well() -> None:
    desk = Desk()
    desk.engine.down = True
    assert desk.look() == []
    desk.engine.down = False
    assert desk.look() == ALL


@pytest.mark.parametrize("told", [True, False])
def test_all_is_read_again_after_the_engine_was_away(told: bool) -> None:
    """Whether or not it tells how old it is."""
    desk = Desk()
    if not told:
        desk.engine.age = None
    assert desk.look() == ALL
    desk.engine.down = True
    assert desk.look() == []
    desk.engine.down = False
    assert desk.look() == ALL


def test_a_restart_between_two_looks_is_noticed() -> None:
    desk = Desk()
    assert desk.look() == ALL
    desk.engine.restart()
    assert desk.look() == ALL
    assert desk.look() == []


def test_an_engine_that_grows_older_has_forgotten_nothing() -> None:
    desk = Desk()
    desk.look()
    assert desk.engine.age is not None
    desk.engine.age += 1000
    assert desk.look() == []


def test_a_changed_bot_is_read_again_and_the_default_bot_is_the_last_one_still() -> None:
    desk = Desk()
    desk.look()
    desk.bots.bots["zoe"] = changed = replace(ZOE, system="You are long.")
    assert desk.look() == [beginning(changed), beginning(ASSISTANT)]
    assert desk.look() == []
    # What is no part of any prompt's beginning changes nothing.
    desk.bots.bots["zoe"] = replace(changed, max_tokens=7)
    assert desk.look() == []


def test_a_new_bot_is_read_and_one_that_went_away_is_not_missed() -> None:
    desk = Desk(bots=FakeBots(ASSISTANT, MIRA))
    desk.look()
    del desk.bots.bots["mira"]
    desk.bots.bots["zoe"] = ZOE
    assert desk.look() == [beginning(ZOE), beginning(ASSISTANT)]


def test_a_bot_without_a_good_format_does_not_keep_the_others_cold() -> None:
    desk = Desk(bots=FakeBots(replace(ZOE, format="no-such"), ASSISTANT))
    assert desk.look() == [beginning(ASSISTANT)]


def test_nothing_is_read_while_anybody_wants_anything() -> None:
    desk = Desk()
    with desk.gate.enter("somebody"):
        assert desk.look() == []
    assert desk.look() == ALL


def test_it_takes_no_place_at_the_gate() -> None:
    desk = Desk(gate=Gate(1, 0))
    places: list[int | None] = []

    def script(_: Generation) -> list[EngineEvent | Exception]:
        with desk.gate.enter("visitor") as ticket:
            places.append(ticket.engine)
        return says("x")

    desk.engine.script = script
    assert desk.look() == ALL
    assert places == [0, 0, 0]
    assert desk.gate.status().busy_s < 1


def test_it_gives_way_to_whoever_comes_and_goes_on_when_they_are_gone() -> None:
    desk = Desk()
    closed_at: list[int] = []
    visitor = desk.gate.enter("visitor")
    visitor.__exit__(None, None, None)

    def script(_: Generation) -> Generator[EngineEvent]:
        nonlocal visitor
        visitor = desk.gate.enter("visitor")
        for number in range(100):
            closed_at.append(number)
            yield Idle()
        yield Text("x")
        yield Finish("length")

    desk.engine.script = script
    assert desk.look() == ALL[:1]
    assert closed_at == [0], "it ends with the next thing the engine tells"
    assert desk.engine.closed == 1
    desk.engine.script = says("x")
    assert desk.look() == []
    visitor.__exit__(None, None, None)
    assert desk.look() == ALL


def test_slots_that_nobody_has_used_read_the_default_bots_beginning_too() -> None:
    desk = Desk(engine=CachingEngine(slots=5))
    desk.warming.look()
    read = [(order.prompt, order.slot) for order in desk.engine.generations]
    assert read == [*((prompt, None) for prompt in ALL), (ALL[-1], 0), (ALL[-1], 1)]
    desk.engine.generations.clear()
    assert desk.look() == []


def test_a_refused_slot_stays_cold_and_the_next_look_tries_again() -> None:
    desk = Desk(engine=CachingEngine(slots=5), bots=FakeBots(ASSISTANT))

    def script(order: Generation) -> list[EngineEvent | Exception]:
        return [EngineFailure("no")] if order.slot == 1 else says("x")

    desk.engine.script = script
    desk.look()
    desk.engine.script = says("x")
    assert desk.look() == [beginning(ASSISTANT)] * 2


@pytest.mark.parametrize("failure", [EngineFailure("died"), ContextTooLong()])
def test_a_bot_that_cannot_be_warmed_does_not_keep_the_others_cold_for_ever(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()

    def script(order: Generation) -> list[EngineEvent | Exception]:
        return [failure] if "Mira" in order.prompt else says("x")

    desk.engine.script = script
    assert [len(desk.look()) for _ in range(5)] == [1, 1, 1, 2, 0]
    assert "mira" in caplog.text
    assert "sails" not in caplog.text, "a prompt is nobody's business"
    desk.engine.restart()
    assert desk.look() == ALL[:1], "another engine may take it"


def test_it_runs_by_itself_and_ends_at_once() -> None:
    desk = Desk()
    stuck = threading.Event()

    def script(_: Generation) -> Generator[EngineEvent]:
        stuck.set()
        while True:
            yield Idle()

    desk.warming.start()
    until(lambda: len(desk.engine.generations) == 3)
    desk.engine.script = script
    desk.engine.restart()
    assert stuck.wait(5)
    desk.warming.stop()
    until(lambda: desk.engine.closed == len(desk.engine.generations))
    checked = desk.engine.checked
    desk.warming.stop()
    assert desk.engine.checked == checked


def test_a_defect_does_not_end_it() -> None:
    desk = Desk()
    broken: Callable[[], None] = desk.engine.check

    def check() -> None:
        broken()
        if desk.engine.checked < 3:
            raise ValueError("a defect")

    desk.engine.check = check  # type: ignore[method-assign]
    desk.warming.start()
    until(lambda: len(desk.engine.generations) == 3)
    desk.warming.stop()
