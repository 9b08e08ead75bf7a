"""Which archives stay: BACKUP_KEEP, and archives' names.

`7d,4w,6m` means what restic's --keep-daily 7 --keep-weekly 4 --keep-monthly 6 and borg's prune mean: of each of the
last 7 days that have an archive its newest, and so of 4 weeks and 6 months; what any rule keeps, stays. A bare number
keeps that many of the newest. Days begin at 00:00 UTC, weeks on Monday. The newest archive always stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone

ALL = "all"
_STAMP = "%Y%m%dT%H%M%SZ"
_RULE = re.compile(r"([1-9]\d{0,3})([hdwmy]?)")
# What two archives of the same period have in common.
_PERIOD: Mapping[str, Callable[[datetime], object]] = {
    "": lambda moment: moment,
    "h": lambda moment: (moment.date(), moment.hour),
    "d": lambda moment: moment.date(),
    "w": lambda moment: moment.isocalendar()[:2],
    "m": lambda moment: (moment.year, moment.month),
    "y": lambda moment: moment.year,
}


def check(value: str) -> str | None:
    """What is wrong with a value of BACKUP_KEEP."""
    good = value == ALL or (_parted(value) and all(_RULE.fullmatch(rule) for rule in _parted(value)))
    return None if good else "must be all, a number, or rules as 7d,4w,6m (hours h, days d, weeks w, months m, years y)"


def _parted(rules: str) -> list[str]:
    return rules.replace(",", " ").split()


def kept(moments: Iterable[datetime], rules: str) -> set[datetime]:
    """Those of the archives' moments (UTC) that stay."""
    newest_first = sorted(set(moments), reverse=True)
    if rules == ALL:
        return set(newest_first)
    stay = set(newest_first[:1])
    for rule in _parted(rules):
        match = _RULE.fullmatch(rule)
        if match is None:
            raise ValueError(rule)
        count, period = int(match[1]), _PERIOD[match[2]]
        newest: dict[object, datetime] = {}
        for moment in newest_first:
            newest.setdefault(period(moment), moment)
        stay.update(list(newest.values())[:count])
    return stay


def as_restic(rules: str) -> list[str]:
    """The same as options of `restic forget`; [] where everything stays."""
    if rules == ALL:
        return []
    words = {"": "last", "h": "hourly", "d": "daily", "w": "weekly", "m": "monthly", "y": "yearly"}
    matches = filter(None, map(_RULE.fullmatch, _parted(rules)))
    # Its newest snapshot stays by any of them, as ours does.
    return [f"--keep-{words[match[2]]}={match[1]}" for match in matches]


def name_of(project: str, moment: datetime, *, encrypted: bool) -> str:
    """An archive's file name: chatbot-20261122T081500Z.tar, with .gpg behind it where it is encrypted."""
    return f"{project}-{moment.strftime(_STAMP)}.tar{'.gpg' if encrypted else ''}"


def moment_of(project: str, name: str) -> datetime | None:
    """When the archive of that name was made (UTC); None for every file that is no archive of this project's."""
    match = re.fullmatch(rf"{re.escape(project)}-(\d{{8}}T\d{{6}}Z)\.tar(\.gpg)?", name)
    try:
        return datetime.strptime(match[1], _STAMP).replace(tzinfo=timezone.utc) if match else None
    except ValueError:
        return None


def superfluous(project: str, names: Iterable[str], rules: str) -> list[str]:
    """Those of the names that may go, the oldest first; never one that is no archive of this project's."""
    dated = [(moment, name) for name in names if (moment := moment_of(project, name))]
    stay = kept((moment for moment, _ in dated), rules)
    return [name for moment, name in sorted(dated) if moment not in stay]
