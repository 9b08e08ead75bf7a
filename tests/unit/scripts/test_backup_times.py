"""When backups are made by themselves: what cron is told, and when the last one was due."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib import backup_times

NOON = datetime(2026, 11, 22, 12, 0)  # a Sunday


@pytest.mark.parametrize(
    ("value", "cron"),
    [
        ("daily 03:30", "30 3 * * *"),
        ("daily 00:00", "0 0 * * *"),
        ("hourly", "17 * * * *"),
        ("30 3 * * 1-5", "30 3 * * 1-5"),
        ("*/15  8-18 1,15 * *", "*/15 8-18 1,15 * *"),
    ],
)
def test_good_schedules(value: str, cron: str) -> None:
    assert backup_times.check(value) is None
    assert backup_times.cron(value) == cron


@pytest.mark.parametrize(
    "value",
    [
        *("", "on", "daily", "daily 3:30", "daily 24:00", "daily 03:60", "weekly", "@daily", "* * * *", "* * * * * *"),
        *(
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "5/2 * * * *",
        ),
        *("30 3 * * *; rm -rf /", "30 3 * * $(id)", "a * * * *", "0 0 30 2 *", "1,,2 * * * *", "%% * * * *"),
    ],
)
def test_bad_schedules(value: str) -> None:
    assert backup_times.check(value)


def test_off_is_never_due() -> None:
    assert backup_times.check("off") is None and backup_times.last_due("off", NOON) is None


@pytest.mark.parametrize(
    ("value", "due"),
    [
        ("daily 03:30", datetime(2026, 11, 22, 3, 30)),
        ("daily 12:00", datetime(2026, 11, 21, 12, 0)),
        ("daily 13:00", datetime(2026, 11, 21, 13, 0)),
        ("hourly", datetime(2026, 11, 22, 11, 17)),
        ("0 0 1 * *", datetime(2026, 11, 1)),
        ("0 0 * * 1", datetime(2026, 11, 16)),
        ("0 0 * * 0", datetime(2026, 11, 22)),
        ("0 0 * * 7", datetime(2026, 11, 22)),
        ("0 0 29 2 *", datetime(2024, 2, 29)),
        # Both a day of the month and one of the week: either.
        ("0 0 20 * 1", datetime(2026, 11, 20)),
        ("*/10 * * * *", datetime(2026, 11, 22, 11, 50)),
    ],
)
def test_when_it_was_due_last(value: str, due: datetime) -> None:
    assert backup_times.last_due(value, NOON) == due


@given(st.integers(0, 59), st.integers(0, 23), st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)))
def test_a_daily_one_was_due_within_the_last_day(minute: int, hour: int, now: datetime) -> None:
    due = backup_times.last_due(f"{minute} {hour} * * *", now)
    assert due is not None and timedelta(0) < now - due <= timedelta(days=1)
    assert (due.hour, due.minute) == (hour, minute)
