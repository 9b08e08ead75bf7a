"""First come, first served; the full queue refuses; whoever leaves frees its place."""

from __future__ import annotations

import threading

import pytest

from chatproxy.core.slots import Gate, Ticket
from chatproxy.errors import Busy


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def admitted(*tickets: Ticket) -> list[bool]:
    return [ticket.wait(0) for ticket in tickets]


def test_slots_first_then_the_queue_then_refusal() -> None:
    gate = Gate(slots=2, queue=1)
    first, second, third = gate.enter(), gate.enter(), gate.enter()
    assert admitted(first, second, third) == [True, True, False]
    assert third.position()[0] == 1
    with pytest.raises(Busy) as caught:
        gate.enter()
    assert caught.value.retry_after and caught.value.retry_after > 0
    assert (gate.status().busy, gate.status().waiting) == (2, 1)


def test_order_of_arrival_is_kept() -> None:
    gate = Gate(slots=1, queue=5)
    running, *waiting = [gate.enter() for _ in range(4)]
    for _ in range(3):
        gate.leave(running)
        running = waiting.pop(0)
        assert admitted(running, *waiting) == [True] + [False] * len(waiting)
        assert [ticket.position()[0] for ticket in waiting] == list(range(1, len(waiting) + 1))


def test_a_waiter_that_leaves_moves_the_others_up() -> None:
    gate = Gate(slots=1, queue=5)
    running, gone, last = gate.enter(), gate.enter(), gate.enter()
    with gone:
        pass
    assert last.position()[0] == 1
    gate.leave(running)
    assert last.wait(0)
    assert gate.status().busy == 1


def test_leaving_twice_frees_one_slot_only() -> None:
    gate = Gate(slots=1, queue=0)
    ticket = gate.enter()
    gate.leave(ticket)
    gate.leave(ticket)
    assert gate.status().busy == 0


def test_an_error_inside_frees_the_slot() -> None:
    gate = Gate(slots=1, queue=0)
    with pytest.raises(RuntimeError), gate.enter():
        raise RuntimeError
    assert gate.status().busy == 0


def test_time_of_arrival_is_estimated_from_answers_so_far() -> None:
    clock = Clock()
    gate = Gate(slots=1, queue=2, clock=clock)
    running, waiting = gate.enter(), gate.enter()
    assert waiting.position() == (1, None)
    clock.now = 20.0
    gate.leave(running)
    late = gate.enter()
    assert late.position() == (1, 20)
    gate.enter()
    with pytest.raises(Busy) as caught:
        gate.enter()
    assert caught.value.retry_after == 60  # two wait before, and one more


def test_many_threads_never_exceed_the_slots_and_all_get_through() -> None:
    gate = Gate(slots=3, queue=100)
    lock, running, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal running, most
        with gate.enter() as ticket:
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
