"""Fair turns; the full queue refuses; whoever leaves frees its place; an engine that fails is left for another."""

from __future__ import annotations

import threading

import pytest

from chatproxy.core.slots import Gate, Ticket
from chatproxy.errors import Busy, Unavailable


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def admitted(*tickets: Ticket) -> list[bool]:
    return [ticket.wait(0) for ticket in tickets]


def test_slots_first_then_the_queue_then_refusal() -> None:
    gate = Gate(slots=2, queue=1)
    first, second, third = gate.enter("key:a"), gate.enter("key:a"), gate.enter("key:a")
    assert admitted(first, second, third) == [True, True, False]
    assert third.position()[0] == 1
    with pytest.raises(Busy) as caught:
        gate.enter("key:a")
    assert caught.value.retry_after and caught.value.retry_after > 0
    assert (gate.status().busy, gate.status().waiting) == (2, 1)


def test_order_of_arrival_is_kept() -> None:
    gate = Gate(slots=1, queue=5)
    running, *waiting = [gate.enter("key:a") for _ in range(4)]
    for _ in range(3):
        gate.leave(running)
        running = waiting.pop(0)
        assert admitted(running, *waiting) == [True] + [False] * len(waiting)
        assert [ticket.position()[0] for ticket in waiting] == list(range(1, len(waiting) + 1))


def test_a_waiter_that_leaves_moves_the_others_up() -> None:
    gate = Gate(slots=1, queue=5)
    running, gone, last = gate.enter("key:a"), gate.enter("key:a"), gate.enter("key:a")
    with gone:
        pass
    assert last.position()[0] == 1
    gate.leave(running)
    assert last.wait(0)
    assert gate.status().busy == 1


def test_leaving_twice_frees_one_slot_only() -> None:
    gate = Gate(slots=1, queue=0)
    ticket = gate.enter("key:a")
    gate.leave(ticket)
    gate.leave(ticket)
    assert gate.status().busy == 0


def test_an_error_inside_frees_the_slot() -> None:
    gate = Gate(slots=1, queue=0)
    with pytest.raises(RuntimeError), gate.enter("key:a"):
        raise RuntimeError
    assert gate.status().busy == 0


def test_time_of_arrival_is_estimated_from_answers_so_far() -> None:
    clock = Clock()
    gate = Gate(slots=1, queue=2, clock=clock)
    running, waiting = gate.enter("key:a"), gate.enter("key:a")
    assert waiting.position() == (1, None)
    clock.now = 20.0
    gate.leave(running)
    late = gate.enter("key:a")
    assert late.position() == (1, 20)
    gate.enter("key:a")
    with pytest.raises(Busy) as caught:
        gate.enter("key:a")
    assert caught.value.retry_after == 20  # when the running answer's slot lets the first of the queue in


def test_many_threads_never_exceed_the_slots_and_all_get_through() -> None:
    gate = Gate(slots=3, queue=100)
    lock, running, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal running, most
        with gate.enter("key:a") as ticket:
            assert ticket.wait(10)
            with lock:
                running += 1
                most = max(most, running)
            with lock:
                running -= 1

    threads = [threading.Thread(target=work) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= 3
    assert (gate.status().busy, gate.status().waiting) == (0, 0)


def order_of_admission(gate: Gate, running: Ticket, waiting: list[Ticket]) -> list[str]:
    """Who is admitted in which order, if nobody else comes; one slot."""
    order = []
    while waiting:
        gate.leave(running)
        running = next(ticket for ticket in waiting if ticket.wait(0))
        waiting.remove(running)
        order.append(running.payer)
    gate.leave(running)
    return order


def test_a_single_request_overtakes_the_many_of_another_payer() -> None:
    gate = Gate(slots=1, queue=100)
    running = gate.enter("key:busy")
    waiting = [gate.enter("key:busy") for _ in range(49)]
    single = gate.enter("key:single")
    assert single.position()[0] == 1
    assert order_of_admission(gate, running, [*waiting, single])[0] == "key:single"


def test_two_busy_payers_take_turns() -> None:
    gate = Gate(slots=1, queue=100)
    running = gate.enter("key:a")
    waiting = [gate.enter("key:a") for _ in range(4)] + [gate.enter("key:b") for _ in range(4)]
    order = order_of_admission(gate, running, waiting)
    assert all(order[: 2 * n].count("key:a") == n for n in range(1, 5))


def test_ever_new_payers_cannot_hold_back_one_that_waits() -> None:
    gate = Gate(slots=1, queue=100)
    running = gate.enter("key:patient")
    patient = gate.enter("key:patient")
    waiting = [patient]
    for number in range(8):
        waiting += [gate.enter(f"visitor:{number}a"), gate.enter(f"visitor:{number}b")]
        gate.leave(running)
        running = next(ticket for ticket in waiting if ticket.wait(0))
        waiting.remove(running)
        if running is patient:
            return
    pytest.fail("eight newcomers went first while twice as many came")


def test_cancelled_places_do_not_count_against_their_payer() -> None:
    gate = Gate(slots=1, queue=100)
    running = gate.enter("key:other")
    for ticket in [gate.enter("key:a") for _ in range(20)]:
        gate.leave(ticket)
    other, mine = gate.enter("key:other"), gate.enter("key:a")
    assert (mine.position()[0], other.position()[0]) == (1, 2)
    gate.leave(running)


def test_one_payer_cannot_fill_the_whole_queue() -> None:
    gate = Gate(slots=1, queue=8)
    gate.enter("key:greedy")
    for _ in range(6):
        gate.enter("key:greedy")
    with pytest.raises(Busy):
        gate.enter("key:greedy")
    assert gate.enter("key:other").position()[0] == 1
    assert gate.enter("key:third").position()[0] == 2
    with pytest.raises(Busy):
        gate.enter("key:fourth")


def test_the_least_loaded_engine_is_chosen() -> None:
    gate = Gate(slots=2, queue=0, engines=2)
    assert [gate.enter("key:a").engine for _ in range(4)] == [0, 1, 0, 1]


def test_a_conversation_comes_back_to_its_engine_when_that_costs_nothing() -> None:
    gate = Gate(slots=2, queue=0, engines=2)
    first, second = gate.enter("key:a", "one"), gate.enter("key:a", "two")
    assert (first.engine, second.engine) == (0, 1)
    gate.leave(first)
    gate.leave(second)
    assert gate.enter("key:a", "two").engine == 1


def test_an_engine_that_is_down_gets_no_work_until_it_is_up() -> None:
    gate = Gate(slots=1, queue=2, engines=2)
    gate.set_up(0, False)
    first, second = gate.enter("key:a"), gate.enter("key:a")
    assert (first.engine, second.engine) == (1, None)
    gate.set_up(0, True)
    assert second.engine == 0


def test_while_no_engine_is_up_all_are_tried() -> None:
    gate = Gate(slots=1, queue=0, engines=2)
    gate.set_up(0, False)
    gate.set_up(1, False)
    assert gate.enter("key:a").engine == 0


def test_a_failed_engine_is_left_for_one_that_was_not_tried_before_all_who_wait() -> None:
    gate = Gate(slots=1, queue=5, engines=2)
    first, second, third = gate.enter("key:a"), gate.enter("key:b"), gate.enter("key:c")
    assert first.retry()
    assert third.engine == 0  # what it left is not wasted
    assert first.position()[0] == 1
    gate.leave(second)
    assert first.engine == 1
    assert not first.retry()


def test_a_single_engine_that_fails_is_not_tried_again() -> None:
    gate = Gate(slots=1, queue=5)
    ticket = gate.enter("key:a")
    assert not ticket.retry()
    assert ticket.engine == 0


def test_a_request_for_one_engine_gets_that_one_and_holds_nobody_up() -> None:
    gate = Gate(slots=1, queue=5, engines=2)
    first, bound = gate.enter("key:a", only=1), gate.enter("key:b", only=1)
    other = gate.enter("key:c")
    assert admitted(first, bound, other) == [True, False, True]
    assert (first.engine, other.engine) == (1, 0)
    gate.leave(other)
    assert admitted(bound) == [False]
    gate.leave(first)
    assert (admitted(bound), bound.engine) == ([True], 1)
    assert not bound.retry()


def test_a_request_for_one_engine_does_not_lose_its_turn_to_those_behind_it() -> None:
    gate = Gate(slots=1, queue=5, engines=2)
    running = [gate.enter("key:a"), gate.enter("key:a")]
    bound, behind = gate.enter("key:b", only=0), gate.enter("key:c")
    gate.leave(next(ticket for ticket in running if ticket.engine == 0))
    assert admitted(bound, behind) == [True, False]


def test_a_request_for_an_engine_that_is_down_is_tried_there_all_the_same() -> None:
    gate = Gate(slots=1, queue=5, engines=2)
    gate.set_up(0, False)
    assert gate.enter("key:a", only=0).engine == 0


def test_while_the_gate_is_held_nobody_is_admitted_and_who_runs_goes_on() -> None:
    gate = Gate(slots=2, queue=2)
    running = gate.enter("key:a")
    gate.hold(60)
    first, second = gate.enter("key:b"), gate.enter("key:c")
    assert admitted(running, first, second) == [True, False, False]
    assert [first.position(), second.position()] == [(1, None), (2, None)]
    with pytest.raises(Busy):
        gate.enter("key:d")
    gate.leave(running)
    assert admitted(first, second) == [False, False]
    assert (gate.status().held, gate.status().busy, gate.status().waiting) == (True, 0, 2)
    gate.hold(0)
    assert admitted(first, second) == [True, True]
    assert not gate.status().held


def test_a_hold_ends_by_itself_when_its_time_is_over() -> None:
    clock = Clock()
    gate = Gate(slots=1, queue=1, clock=clock)
    gate.hold(60)
    waiting = gate.enter("key:a")
    clock.now = 59.9
    assert waiting.position()[0] == 1
    clock.now = 60.1
    assert waiting.position() == (0, 0)
    assert waiting.wait(0)


def test_how_long_a_hold_lasts_is_not_guessed_from_how_long_answers_take() -> None:
    clock = Clock()
    gate = Gate(slots=1, queue=3, clock=clock)
    with gate.enter("key:a"):
        clock.now = 5
    gate.enter("key:a")
    gate.hold(60)
    assert gate.enter("key:b").position() == (1, None)
    gate.hold(0)
    assert gate.enter("key:b").position()[1] is not None


def test_whoever_leaves_while_the_gate_is_held_frees_its_place() -> None:
    gate = Gate(slots=1, queue=2)
    gate.hold(60)
    gone, last = gate.enter("key:a"), gate.enter("key:a")
    with gone:
        pass
    assert last.position() == (1, None)
    assert gate.status().waiting == 1


def test_who_waits_and_who_comes_is_turned_away_before_the_process_ends() -> None:
    gate = Gate(slots=1, queue=2)
    running, waiting = gate.enter("key:a"), gate.enter("key:a")
    gate.hold(60, turn_away=True)
    assert running.wait(0)
    with pytest.raises(Unavailable) as caught:
        waiting.wait(0)
    assert caught.value.retry_after
    with pytest.raises(Unavailable):
        gate.enter("key:b")
    gate.hold(0)
    assert not waiting.wait(0)
