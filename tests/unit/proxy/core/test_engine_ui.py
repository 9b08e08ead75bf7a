"""The engine's page takes its turn like everybody else, and gives back what it holds however it ends."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from chatproxy.core.engine_pages import PageEvent, PageHead, PageRequest
from chatproxy.core.engine_ui import PAYER, EngineUi
from chatproxy.core.slots import Gate
from chatproxy.errors import Busy, EngineFailure, EngineTimeout
from tests.unit.proxy.fakes import FakeEnginePages, shows

STORY = PageRequest("POST", "/api/v1/generate", {}, b"{}", "KCPP1")


def counts(gate: Gate) -> tuple[int, int]:
    status = gate.status()
    return status.busy, status.waiting


def heads(events: Generator[PageEvent]) -> list[int]:
    return [event.status for event in events if isinstance(event, PageHead)]


def test_what_computes_holds_a_slot_until_its_last_byte() -> None:
    gate, pages = Gate(slots=1, queue=1), FakeEnginePages()
    events = EngineUi(pages, gate).compute(STORY)
    assert next(events) is None
    assert counts(gate) == (1, 0)
    assert heads(events) == [200]
    assert counts(gate) == (0, 0)
    assert pages.asked == [(STORY, True)]
    assert pages.aborted == []


def test_pages_are_shown_while_every_slot_is_taken() -> None:
    gate, pages = Gate(slots=1, queue=0), FakeEnginePages()
    gate.enter("key:visitor")
    request = PageRequest("GET", "/", {})
    assert heads(EngineUi(pages, gate).show(request)) == [200]
    assert pages.asked == [(request, False)]


def test_a_story_waits_behind_a_visitor_and_asks_nothing_before_its_turn() -> None:
    gate, pages = Gate(slots=1, queue=2), FakeEnginePages()
    visitor = gate.enter("key:visitor")
    events = EngineUi(pages, gate).compute(STORY)
    assert next(events) is None
    assert (counts(gate), pages.asked) == ((1, 1), [])
    gate.leave(visitor)
    assert heads(events) == [200]


def test_all_administrators_share_one_turn() -> None:
    gate, pages = Gate(slots=1, queue=8), FakeEnginePages()
    running = gate.enter("key:visitor")
    ui = EngineUi(pages, gate)
    stories = [ui.compute(STORY) for _ in range(3)]
    for story in stories:
        next(story)
    newcomer = gate.enter("key:newcomer")
    assert newcomer.position()[0] <= 2
    assert gate.enter(PAYER).position()[0] == 5
    gate.leave(running)
    for story in stories:
        story.close()


def test_a_full_queue_refuses() -> None:
    gate = Gate(slots=1, queue=0)
    gate.enter("key:visitor")
    with pytest.raises(Busy) as caught:
        next(EngineUi(FakeEnginePages(), gate).compute(STORY))
    assert caught.value.retry_after


def test_leaving_the_queue_frees_the_place() -> None:
    gate, pages = Gate(slots=1, queue=2), FakeEnginePages()
    gate.enter("key:visitor")
    events = EngineUi(pages, gate).compute(STORY)
    next(events)
    events.close()
    assert (counts(gate), pages.asked, pages.aborted) == ((1, 0), [], [])


@pytest.mark.parametrize("begun", [False, True])
def test_leaving_in_the_middle_closes_the_connection_and_aborts(begun: bool) -> None:
    gate, pages = Gate(slots=1, queue=2), FakeEnginePages()
    pages.script = lambda _: shows("some", "more")
    events = EngineUi(pages, gate).compute(STORY)
    while not isinstance(event := next(events), bytes if begun else PageHead):
        assert event is None or isinstance(event, PageHead)
    events.close()
    assert (counts(gate), pages.closed, pages.aborted) == ((0, 0), 1, [("KCPP1", begun)])


@pytest.mark.parametrize("end", [shows("whole"), [EngineFailure("died")], [EngineTimeout("silent")]])
def test_an_answer_that_nobody_waits_for_keeps_its_slot_while_the_engine_works_on_it(
    end: list[PageEvent | Exception],
) -> None:
    gate, pages = Gate(slots=1, queue=2), FakeEnginePages()
    held: list[tuple[int, int]] = []

    def think(_: PageRequest) -> Generator[PageEvent | Exception]:
        for _ in range(5):
            yield None
            held.append(counts(gate))
        yield from end

    pages.script = think
    events = EngineUi(pages, gate).compute(STORY)
    next(events)
    events.close()
    assert held == [(1, 0)] * 5
    assert (counts(gate), pages.closed, pages.aborted) == ((0, 0), 1, [("KCPP1", False)])


def test_an_engine_that_stays_silent_is_told_to_stop() -> None:
    gate, pages = Gate(slots=1, queue=2), FakeEnginePages(EngineTimeout("silent"))
    with pytest.raises(EngineTimeout):
        list(EngineUi(pages, gate).compute(STORY))
    assert (counts(gate), pages.aborted) == ((0, 0), [("KCPP1", False)])


def test_an_engine_that_is_away_frees_the_slot() -> None:
    gate, pages = Gate(slots=1, queue=2), FakeEnginePages(EngineFailure("refused"))
    with pytest.raises(EngineFailure):
        list(EngineUi(pages, gate).compute(STORY))
    assert (counts(gate), pages.aborted) == ((0, 0), [])


def test_an_abort_ends_what_waits_and_nothing_else() -> None:
    gate, pages = Gate(slots=1, queue=4), FakeEnginePages()
    gate.enter("key:visitor")
    ui = EngineUi(pages, gate)
    nameless = PageRequest("POST", "/v1/completions", {}, b"{}")
    waiting, other = ui.compute(STORY), ui.compute(nameless)
    next(waiting), next(other)
    assert not ui.abort("KCPP2")
    assert ui.abort("KCPP1")
    assert list(waiting) == []
    assert counts(gate) == (1, 1)
    assert next(other) is None
    other.close()
    assert pages.asked == []


def test_what_the_engine_has_is_the_engines_to_abort() -> None:
    ui = EngineUi(FakeEnginePages(), Gate(slots=1, queue=4))
    events = ui.compute(STORY)
    next(events)
    assert not ui.abort("KCPP1")
    events.close()


def test_an_abort_without_a_name_reaches_the_engine_only_while_it_computes_something_nameless_of_the_page() -> None:
    gate = Gate(slots=1, queue=4)
    visitor = gate.enter("key:visitor")
    ui = EngineUi(FakeEnginePages(), gate)
    nameless = [ui.compute(PageRequest("POST", "/v1/completions", {}, b"{}")) for _ in range(2)]
    next(nameless[0]), next(nameless[1])
    assert ui.abort("")  # they wait: it is the visitor's answer that runs
    gate.leave(visitor)
    heads(nameless[0])
    assert ui.abort("")
    next(nameless[1])
    assert not ui.abort("")
    nameless[1].close()
    assert ui.abort("")
    named = ui.compute(STORY)
    next(named)
    assert ui.abort("")
    named.close()


def test_the_slot_is_the_engines_whose_page_it_is() -> None:
    gate, pages = Gate(slots=1, queue=4, engines=2), FakeEnginePages()
    first = gate.enter("key:visitor", only=0)
    events = EngineUi(pages, gate, engine=0).compute(STORY)
    next(events)
    assert (counts(gate), pages.asked) == ((1, 1), [])
    gate.leave(first)
    assert heads(events) == [200]
