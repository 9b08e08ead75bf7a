"""BACKUP_SCHEDULE: off, hourly, `daily 03:30`, or five fields as cron has them; in the machine's own time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

OFF = "off"
# Not at full hours, when everybody's jobs run.
_HOURLY = "17 * * * *"
_DAILY = re.compile(r"daily ([01]\d|2[0-3]):([0-5]\d)")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_PART = re.compile(r"(\*|\d{1,2}(?:-\d{1,2})?)(?:/([1-9]\d?))?")
# 29 February comes again after eight years at most.
_LONGEST_DAYS = 8 * 366 + 2


def check(value: str) -> str | None:
    """What is wrong with a value of BACKUP_SCHEDULE."""
    wrong = "must be off, hourly, daily HH:MM as daily 03:30, or five fields as cron has them: '30 3 * * 1-5'"
    if value == OFF:
        return None
    try:
        fields = _fields(cron(value))
    except ValueError:
        return wrong
    if not any(_day_fits(fields, datetime(2024, 1, 1) + timedelta(days=days)) for days in range(_LONGEST_DAYS)):
        return "names a day that never comes"
    return None


def cron(value: str) -> str:
    """The five fields. ValueError for what is no schedule, `off` too."""
    if value == "hourly":
        return _HOURLY
    if match := _DAILY.fullmatch(value):
        return f"{int(match[2])} {int(match[1])} * * *"
    _fields(value)
    return " ".join(value.split())


_Fields = tuple[frozenset[int], frozenset[int], frozenset[int], frozenset[int], frozenset[int], bool, bool]


def _fields(value: str) -> _Fields:
    words = value.split()
    if len(words) != len(_RANGES):
        raise ValueError(value)
    minutes, hours, days, months, weekdays = (
        _numbers(word, *bounds) for word, bounds in zip(words, _RANGES, strict=True)
    )
    # Cron's Sunday is 0 and 7.
    weekdays = frozenset(day % 7 for day in weekdays)
    return minutes, hours, days, months, weekdays, words[2].startswith("*"), words[4].startswith("*")


def _numbers(word: str, least: int, most: int) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise ValueError(word)
        first, _, last = (f"{least}-{most}" if match[1] == "*" else match[1]).partition("-")
        # A step behind a single number is no cron's.
        if match[2] and not last:
            raise ValueError(word)
        low, high = int(first), int(last or first)
        if not least <= low <= high <= most:
            raise ValueError(word)
        found.update(range(low, high + 1, int(match[2] or 1)))
    return frozenset(found)


def _day_fits(fields: _Fields, day: datetime) -> bool:
    _, _, days, months, weekdays, any_day, any_weekday = fields
    if day.month not in months:
        return False
    in_month, in_week = day.day in days, day.isoweekday() % 7 in weekdays
    # As cron(8) has it: where both are given, one of them is enough.
    return in_month and in_week if any_day or any_weekday else in_month or in_week


def last_due(value: str, before: datetime) -> datetime | None:
    """The latest moment of a good schedule that is earlier than `before`; None for `off`.

    Both are in local time without a zone, as cron reckons.
    """
    if value == OFF:
        return None
    fields = _fields(cron(value))
    minutes, hours = sorted(fields[0], reverse=True), sorted(fields[1], reverse=True)
    midnight = before.replace(hour=0, minute=0, second=0, microsecond=0)
    for days in range(_LONGEST_DAYS):
        day = midnight - timedelta(days=days)
        if not _day_fits(fields, day):
            continue
        for hour in hours:
            for minute in minutes:
                moment = day.replace(hour=hour, minute=minute)
                if moment < before:
                    return moment
    return None
