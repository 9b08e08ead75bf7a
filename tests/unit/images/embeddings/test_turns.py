"""Who computes next: questions before batches, which are slowed down and not stopped."""

from __future__ import annotations

import contextlib
import threading

import pytest

from images.embeddings.turns import QUESTIONS_IN_A_ROW, Turns
from tests.unit.proxy.waiting import until


class Queue:
    """Callers that wait behind somebody who computes, in the order in which they came."""

    def __init__(self) -> None:
        self.turns, self.done = Turns(), list[str]()
        self.threads: list[threading.Thread] = []

    def asks(self, name: str, *, question: bool) -> None:
        def compute() -> None:
            with self.turns.turn(question=question):
                self.done.append(name)

        waiting = self.turns._questions if question else self.turns._steps
        before = len(waiting)
        thread = threading.Thread(target=compute)
        thread.start()
        self.threads.append(thread)
        until(lambda: len(waiting) == before + 1)

    def end(self) -> list[str]:
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()
        return self.done


def test_a_question_goes_before_steps_that_came_earlier() -> None:
    queue = Queue()
    with queue.turns.turn(question=False):
        queue.asks("first step", question=False)
        queue.asks("second step", question=False)
        queue.asks("question", question=True)
    assert queue.end() == ["question", "first step", "second step"]


def test_a_batch_gets_its_step_also_while_questions_never_end() -> None:
    queue = Queue()
    with queue.turns.turn(question=False):
        queue.asks("step", question=False)
        for number in range(QUESTIONS_IN_A_ROW + 3):
            queue.asks(f"{number}", question=True)
    assert queue.end().index("step") == QUESTIONS_IN_A_ROW


def test_one_that_fails_lets_the_next_one_compute() -> None:
    queue = Queue()
    with contextlib.suppress(ZeroDivisionError), queue.turns.turn(question=True):
        queue.asks("next", question=True)
        queue.done.append(str(1 // 0))
    assert queue.end() == ["next"]


def test_all_is_computed_in_one_thread_and_failures_are_the_callers() -> None:
    turns, names = Turns(), set[str]()
    for question in (True, False, True):
        names.add(turns.compute(lambda: threading.current_thread().name, question=question))
    assert len(names) == 1
    with pytest.raises(ZeroDivisionError):
        turns.compute(lambda: 1 // 0, question=True)
    assert turns.compute(lambda: "next", question=True) == "next"


def test_batches_seconds_and_who_waits_are_counted() -> None:
    turns, go = Turns(), threading.Event()
    threads = [
        threading.Thread(target=turns.compute, args=(go.wait,), kwargs={"question": question})
        for question in (True, True, False, False)
    ]
    for thread in threads:
        thread.start()
    until(lambda: turns.state().questions + turns.state().readings == 3)
    assert turns.state().batches == 0
    go.set()
    for thread in threads:
        thread.join()
    state = turns.state()
    assert (state.batches, state.questions, state.readings) == (4, 0, 0)
    assert state.seconds > 0
