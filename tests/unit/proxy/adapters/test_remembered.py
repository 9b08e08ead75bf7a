from __future__ import annotations

import threading
import time

import pytest

from chatproxy.adapters.remembered import Remembered
from chatproxy.errors import EngineFailure


def test_a_value_is_read_once_until_it_is_old() -> None:
    moment, reads = [0.0], []
    value = Remembered(lambda: reads.append(1) or len(reads), lasts_s=60, clock=lambda: moment[0])
    assert (value.get(), value.get()) == (1, 1)
    moment[0] = 61
    assert value.get() == 2


def test_those_who_waited_for_a_failed_read_fail_with_it() -> None:
    reads = []

    def read() -> int:
        reads.append(1)
        time.sleep(0.2)
        raise EngineFailure("hung")

    value = Remembered(read)
    failures: list[EngineFailure] = []

    def ask() -> None:
        with pytest.raises(EngineFailure) as caught:
            value.get()
        failures.append(caught.value)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 20
    assert len(reads) == 1
    assert time.monotonic() - begun < 2


def test_a_failure_is_forgotten_after_a_moment() -> None:
    moment = [0.0]
    answers = [EngineFailure("down"), 7]

    def read() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    value = Remembered(read, clock=lambda: moment[0])
    with pytest.raises(EngineFailure):
        value.get()
    moment[0] = 3
    assert value.get() == 7
