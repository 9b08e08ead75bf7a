"""Few at a time, nobody for ever."""

from __future__ import annotations

import threading
import time

import pytest

from chatproxy.core.rush import Rush


def test_only_so_many_have_a_turn_at_once() -> None:
    rush, lock = Rush(at_once=2, patience_s=10), threading.Lock()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with rush.turn():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_whoever_is_stuck_holds_nobody_up_for_long() -> None:
    rush = Rush(at_once=1, patience_s=0.05)
    with rush.turn():
        begun = time.monotonic()
        with rush.turn():
            assert 0.04 < time.monotonic() - begun < 2
    with rush.turn():  # the one that went ahead has not given back what it never had
        begun = time.monotonic()
        with rush.turn():
            assert time.monotonic() - begun > 0.04


def test_a_turn_is_given_back_when_something_fails() -> None:
    rush = Rush(at_once=1, patience_s=5)
    for _ in range(2):
        begun = time.monotonic()
        with pytest.raises(ZeroDivisionError), rush.turn():
            _ = 1 / 0
        assert time.monotonic() - begun < 1
