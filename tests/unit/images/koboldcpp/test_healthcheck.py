"""When an engine counts as wedged."""

from __future__ import annotations

from images.koboldcpp.entrypoint.healthcheck import WEDGED_AFTER, Busy, judge


def test_an_idle_engine_is_forgotten() -> None:
    assert judge({"idle": 1, "total_gens": 5}, Busy(5, 0.0), 9999.0) == (None, 0.0)


def test_a_busy_engine_is_stuck_only_while_nothing_is_finished() -> None:
    busy, stuck = judge({"idle": 0, "total_gens": 5}, None, 100.0)
    assert (busy, stuck) == (Busy(5, 100.0), 0.0)
    assert judge({"idle": 0, "total_gens": 5}, busy, 100.0 + WEDGED_AFTER) == (busy, WEDGED_AFTER)
    assert judge({"idle": 0, "total_gens": 6}, busy, 2000.0) == (Busy(6, 2000.0), 0.0)


def test_a_note_from_before_a_reboot_does_not_count() -> None:
    assert judge({"idle": 0, "total_gens": 5}, Busy(5, 1e9), 10.0) == (Busy(5, 10.0), 0.0)
