"""Rotation: what stays, what goes, and what is nobody's business."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib import backup_keep

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
RULES = st.one_of(
    st.integers(1, 9).map(str),
    st.lists(st.builds(lambda n, unit: f"{n}{unit}", st.integers(1, 30), st.sampled_from("hdwmy")), min_size=1).map(
        " ".join
    ),
)
MOMENTS = st.sets(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(
        lambda moment: moment.replace(microsecond=0, tzinfo=timezone.utc)
    ),
    max_size=60,
)


@given(MOMENTS, RULES)
def test_the_newest_always_stays_and_nothing_is_made_up(moments: set[datetime], rules: str) -> None:
    stay = backup_keep.kept(moments, rules)
    assert stay <= moments
    assert not moments or max(moments) in stay


@given(MOMENTS, RULES)
def test_what_stays_once_stays_when_asked_again(moments: set[datetime], rules: str) -> None:
    """Rotation after rotation must not eat up what the first one left."""
    stay = backup_keep.kept(moments, rules)
    assert backup_keep.kept(stay, rules) == stay


@given(MOMENTS, RULES, RULES)
def test_a_further_rule_only_adds(moments: set[datetime], one: str, more: str) -> None:
    assert backup_keep.kept(moments, f"{one} {more}") >= backup_keep.kept(moments, one)


@given(MOMENTS, st.integers(1, 40))
def test_a_number_keeps_so_many_of_the_newest(moments: set[datetime], count: int) -> None:
    assert backup_keep.kept(moments, str(count)) == set(sorted(moments)[-count:])


@given(MOMENTS, st.integers(1, 40))
def test_days_keep_the_newest_of_each(moments: set[datetime], count: int) -> None:
    stay = backup_keep.kept(moments, f"{count}d")
    days = sorted({moment.date() for moment in moments})[-count:]
    assert sorted(moment.date() for moment in stay) == days
    assert all(moment == max(m for m in moments if m.date() == moment.date()) for moment in stay)


@given(st.integers(1, 400), st.integers(0, 30))
def test_nightly_backups_reach_back_as_far_as_the_rules_say(nights: int, skipped: int) -> None:
    """Backup by backup, as it goes in life: not even skipped nights cost the months."""
    there: set[datetime] = set()
    for night in range(nights):
        if night % 31 != skipped:
            there.add(NOON + timedelta(days=night))
            there = backup_keep.kept(there, "7d 4w 6m")
    assert len(there) <= 7 + 4 + 6
    if nights > 200:
        assert NOON + timedelta(days=nights) - min(there) >= timedelta(days=119)


def test_all_keeps_all() -> None:
    moments = {NOON - timedelta(hours=n) for n in range(100)}
    assert backup_keep.kept(moments, "all") == moments and backup_keep.as_restic("all") == []


def test_the_same_rules_for_restic() -> None:
    assert backup_keep.as_restic("24h,7d,4w,6m 2y") == [
        *("--keep-hourly=24", "--keep-daily=7", "--keep-weekly=4", "--keep-monthly=6", "--keep-yearly=2")
    ]
    assert backup_keep.as_restic("14") == ["--keep-last=14"]


@pytest.mark.parametrize("value", ["7d,4w,6m", "7d 4w 6m", "14", "all", "24h", "1y", "3 7d"])
def test_good_rules(value: str) -> None:
    assert backup_keep.check(value) is None


@pytest.mark.parametrize("value", ["", " ", "0", "0d", "d", "7x", ",", "-1", "7 days", "all 7d", "99999d"])
def test_bad_rules(value: str) -> None:
    assert backup_keep.check(value)


def test_names_are_read_back() -> None:
    moment = datetime(2026, 11, 22, 8, 15, tzinfo=timezone.utc)
    assert backup_keep.name_of("chatbot", moment, encrypted=False) == "chatbot-20261122T081500Z.tar"
    assert backup_keep.name_of("chatbot", moment, encrypted=True) == "chatbot-20261122T081500Z.tar.gpg"
    for encrypted in (False, True):
        assert backup_keep.moment_of("chatbot", backup_keep.name_of("chatbot", moment, encrypted=encrypted)) == moment


@pytest.mark.parametrize(
    "name",
    [
        "chatbot-test-20261122T081500Z.tar",
        "other-20261122T081500Z.tar",
        "chatbot-20261122T081500Z.tar.gz",
        "chatbot-20261122T081500Z.tar.old",
        "my chatbot-20261122T081500Z.tar",
        "chatbot-20269922T081500Z.tar",
        ".chatbot-20261122T081500Z.tar.part",
        "chatbot-20261122T081500Z.tar\n",
        "photos.tar",
        "",
    ],
)
def test_what_is_not_ours_never_goes(name: str) -> None:
    ours = [f"chatbot-202611{day:02d}T081500Z.tar" for day in range(1, 20)]
    assert backup_keep.moment_of("chatbot", name) is None
    gone = backup_keep.superfluous("chatbot", [*ours, name], "1")
    assert gone == ours[:-1]
