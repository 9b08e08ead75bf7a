"""Budgets are exact, say what is used up and when it opens, and cost nothing where there are none."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from chatproxy.core.access import NO_LIMITS, Caller, Limits, Visit
from chatproxy.core.limits import Limiter, Permit
from chatproxy.errors import RateLimited, StorageUnavailable
from tests.unit.proxy.memory import MemoryUsage
from tests.unit.proxy.waiting import until

NOON = datetime(2031, 5, 4, 12, 0, 15, tzinfo=UTC)
HOME = Caller("key:a/user:1", "key:a", "192.0.2.1")
VISITOR = Caller("site:s/visitor:v", "site:s/visitor:v", "192.0.2.1", visit=Visit("s", "v", frozenset()))
ELSEWHERE = Caller("key:b", "key:b", "192.0.2.1")
TEN_AT_ONCE = 10


class Clock:
    def __init__(self) -> None:
        self.moment = NOON

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **length: float) -> None:
        self.moment += timedelta(**length)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def usage() -> MemoryUsage:
    return MemoryUsage()


def admitted(limiter: Limiter, caller: Caller = HOME, *, times: int = 40) -> int:
    """How many of `times` requests at once get through, each on its own thread."""
    together = threading.Barrier(times)

    def ask(_: int) -> bool:
        together.wait(10)
        try:
            limiter.admit(caller)
        except RateLimited:
            return False
        return True

    with ThreadPoolExecutor(times) as pool:
        return sum(pool.map(ask, range(times)))


@pytest.mark.parametrize(
    "limits",
    [{"key": Limits(requests_per_minute=10)}, {"key": Limits(streams=10)}, {"address": Limits(streams=10)}],
    ids=["requests", "streams", "address"],
)
def test_a_hundred_threads_against_a_limit_of_ten_let_exactly_ten_through(
    usage: MemoryUsage, limits: dict[str, Limits]
) -> None:
    limiter = Limiter(usage, clock=Clock(), **limits)
    assert admitted(limiter, times=100) == TEN_AT_ONCE


def test_a_refusal_says_whose_budget_how_much_and_when_it_opens(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, key=Limits(requests_per_minute=2), clock=clock)
    limiter.admit(HOME)
    limiter.admit(HOME)
    with pytest.raises(RateLimited) as caught:
        limiter.admit(HOME)
    assert caught.value.public == "This key has used up its 2 requests per minute. Try again in 45 seconds."
    assert caught.value.retry_after == 45
    clock.forward(seconds=44.9)
    with pytest.raises(RateLimited) as caught:
        limiter.admit(HOME)
    assert caught.value.retry_after == 1
    clock.forward(seconds=0.1)
    limiter.admit(HOME)


def test_an_address_is_named_as_one_and_counts_all_its_keys(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, address=Limits(requests_per_minute=1), clock=clock)
    limiter.admit(HOME)
    with pytest.raises(RateLimited, match="request per minute of address:192") as caught:
        limiter.admit(ELSEWHERE)
    assert caught.value.public.startswith("This address has used up its 1 request per minute.")
    limiter.admit(Caller("key:b", "key:b", "192.0.2.2"))
    limiter.admit(Caller("key:b", "key:b", ""))


def test_all_addresses_of_a_64_are_one(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, address=Limits(requests_per_minute=1), clock=clock)
    limiter.admit(Caller("key:a", "key:a", "2001:db8::1"))
    with pytest.raises(RateLimited):
        limiter.admit(Caller("key:a", "key:a", "2001:db8::2"))
    limiter.admit(Caller("key:a", "key:a", "2001:db8:0:1::2"))


def test_what_an_address_is_refused_does_not_use_up_the_key(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(
        usage, key=Limits(requests_per_minute=3), address=Limits(requests_per_minute=1, streams=1), clock=clock
    )
    limiter.admit(HOME).release()
    for _ in range(5):
        with pytest.raises(RateLimited, match="address"):
            limiter.admit(HOME)
    elsewhere = Caller("key:a", "key:a", "198.51.100.1")
    limiter.admit(elsewhere)
    assert [count for name, count in usage.counters.items() if "key:a" in name] == [2]


def test_users_of_one_key_share_its_budget(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, key=Limits(requests_per_minute=1), clock=clock)
    limiter.admit(HOME)
    with pytest.raises(RateLimited):
        limiter.admit(Caller("key:a/user:2", "key:a", ""))
    limiter.admit(ELSEWHERE)


def test_a_keys_own_limit_comes_before_the_default_and_0_is_none(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, key=Limits(requests_per_minute=1, streams=1), clock=clock)
    free = Caller("key:free", "key:free", "", Limits(requests_per_minute=0, streams=0))
    narrow = Caller("key:narrow", "key:narrow", "", Limits(requests_per_minute=3))
    for _ in range(5):
        limiter.admit(free)
    assert usage.calls == 0
    for _ in range(3):
        limiter.admit(narrow).release()
    with pytest.raises(RateLimited, match="3 requests"):
        limiter.admit(narrow)


def test_without_limits_the_store_is_never_asked() -> None:
    usage = MemoryUsage()
    usage.down = True
    permit = Limiter(usage, key=Limits(0, 0, 0), address=Limits(0, 0, 0)).admit(HOME)
    permit.spend(100)
    permit.release()
    assert usage.calls == 0


def test_streams_alone_cost_no_call_either_and_open_with_the_release(usage: MemoryUsage) -> None:
    limiter = Limiter(usage, key=Limits(streams=2), address=Limits(streams=3))
    first, _ = limiter.admit(HOME), limiter.admit(HOME)
    with pytest.raises(RateLimited) as caught:
        limiter.admit(HOME)
    assert caught.value.public == (
        "This key may have 2 answers in progress at a time, and has. Try again when one has ended."
    )
    assert caught.value.retry_after
    first.release()
    first.release()
    limiter.admit(HOME)
    with pytest.raises(RateLimited):
        limiter.admit(HOME)
    limiter.admit(ELSEWHERE)
    with pytest.raises(RateLimited, match="address"):
        limiter.admit(ELSEWHERE)
    assert usage.calls == 0


def test_a_request_that_is_refused_holds_no_stream(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, key=Limits(requests_per_minute=1, streams=1), clock=clock)
    limiter.admit(HOME).release()
    for _ in range(3):
        with pytest.raises(RateLimited, match="request"):
            limiter.admit(HOME)
    clock.forward(minutes=1)
    limiter.admit(HOME)


def test_an_unreachable_store_refuses_and_holds_no_stream(usage: MemoryUsage) -> None:
    limiter = Limiter(usage, key=Limits(requests_per_minute=1, streams=1))
    usage.down = True
    with pytest.raises(StorageUnavailable):
        limiter.admit(HOME)
    usage.down = False
    limiter.admit(HOME)


def test_knocking_on_a_closed_door_costs_no_more_writes(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, key=Limits(requests_per_minute=1), clock=clock)
    limiter.admit(HOME)
    for _ in range(50):
        with pytest.raises(RateLimited):
            limiter.admit(HOME)
    assert usage.calls == 2
    clock.forward(minutes=1)
    limiter.admit(HOME)


def test_tokens_count_for_the_very_next_request_though_nobody_waits_for_the_store(clock: Clock) -> None:
    usage = MemoryUsage()
    limiter = Limiter(usage, key=Limits(tokens_per_day=100), clock=clock)
    usage.slow = threading.Event()
    limiter.admit(HOME).spend(99)
    limiter.admit(HOME).spend(1)
    with pytest.raises(RateLimited) as caught:
        limiter.admit(HOME)
    assert caught.value.public.startswith("This key has used up its 100 tokens per day. Try again in 43185 seconds")
    assert caught.value.retry_after == 12 * 3600 - 15
    assert usage.counters == {}
    usage.slow.set()
    until(lambda: list(usage.counters.values()) == [100])
    clock.forward(hours=12)
    limiter.admit(HOME)


def test_tokens_are_not_lost_where_the_store_is_away_for_a_while(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, key=Limits(tokens_per_day=100), clock=clock)
    permit = limiter.admit(HOME)
    usage.down = True
    calls = usage.calls
    permit.spend(60)
    until(lambda: usage.calls > calls)
    usage.down = False
    limiter.admit(HOME).spend(40)

    def refused() -> bool:
        with pytest.raises(RateLimited):
            limiter.admit(HOME)
        return True

    until(lambda: refused() and list(usage.counters.values()) == [100])


def test_counts_survive_a_restart_and_expire_after_their_window(usage: MemoryUsage, clock: Clock) -> None:
    limits = Limits(requests_per_minute=2, tokens_per_day=100)
    Limiter(usage, key=limits, clock=clock).admit(HOME).spend(100)
    until(lambda: 100 in usage.counters.values())
    with pytest.raises(RateLimited, match="tokens"):
        Limiter(usage, key=limits, clock=clock).admit(HOME)
    Limiter(usage, key=Limits(requests_per_minute=2), clock=clock).admit(HOME)
    with pytest.raises(RateLimited, match="requests"):
        Limiter(usage, key=Limits(requests_per_minute=2), clock=clock).admit(HOME)
    ends = sorted(usage.expires.values())
    assert ends[0] >= NOON.replace(second=0) + timedelta(minutes=1)
    assert ends[1] >= datetime(2031, 5, 5, tzinfo=UTC)
    assert ends[1] - NOON < timedelta(days=1)


def test_tokens_from_many_threads_add_up(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, key=Limits(tokens_per_day=10**6), address=Limits(tokens_per_day=10**6), clock=clock)
    with ThreadPoolExecutor(16) as pool:
        for permit in pool.map(lambda _: limiter.admit(HOME), range(200)):
            pool.submit(permit.spend, 5)
    until(lambda: list(usage.counters.values()) == [1000, 1000])


def test_spending_nothing_or_on_an_unlimited_permit_does_nothing(usage: MemoryUsage, clock: Clock) -> None:
    Permit().spend(5)
    Permit().release()
    limiter = Limiter(usage, key=Limits(tokens_per_day=100), clock=clock)
    limiter.admit(HOME).spend(0)
    assert usage.counters == {}


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (
            {"visitor": Limits(requests_per_minute=1)},
            "You have used up your 1 question per minute. Try again in 45 seconds.",
        ),
        ({"visitor": Limits(tokens_per_day=9)}, "You have used up your 9 tokens per day. Try again in 43185 seconds."),
        (
            {"visitor": Limits(streams=1)},
            "You may have 1 answer in progress at a time, and have. Try again when one has ended.",
        ),
        (
            {"address": Limits(requests_per_minute=1)},
            "Your network has used up its 1 question per minute. Try again in 45 seconds.",
        ),
    ],
)
def test_visitors_are_told_as_people_are(
    limits: dict[str, Limits], told: str, usage: MemoryUsage, clock: Clock
) -> None:
    limiter = Limiter(usage, **limits, clock=clock)
    limiter.admit(VISITOR).spend(9)
    with pytest.raises(RateLimited) as caught:
        limiter.admit(VISITOR)
    assert caught.value.public == told


def test_visitors_have_limits_of_their_own_and_keys_theirs(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, key=Limits(streams=3), visitor=Limits(streams=1), clock=clock)
    for caller, most in ((HOME, 3), (VISITOR, 1), (replace(VISITOR, payer="other", limits=Limits(streams=2)), 2)):
        permits = [limiter.admit(caller) for _ in range(most)]
        with pytest.raises(RateLimited):
            limiter.admit(caller)
        for permit in permits:
            permit.release()
    free = replace(VISITOR, payer="third", limits=Limits(streams=0))
    assert [limiter.admit(free) for _ in range(10)]
    assert limiter.admit(replace(HOME, limits=NO_LIMITS))


def test_visitors_of_one_address_share_its_streams_and_keys_do_not(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, visitors_address=Limits(streams=2), clock=clock)
    visitors = [replace(VISITOR, owner=f"site:s/visitor:{n}", payer=f"site:s/visitor:{n}") for n in range(3)]
    held = [limiter.admit(visitor) for visitor in visitors[:2]]
    with pytest.raises(RateLimited):
        limiter.admit(visitors[2])
    limiter.admit(HOME).release()
    held[0].release()
    limiter.admit(visitors[2]).release()


def test_what_has_been_counted_is_not_counted_again(usage: MemoryUsage, clock: Clock) -> None:
    limiter = Limiter(usage, visitor=Limits(requests_per_minute=1, streams=1), clock=clock)
    limiter.admit(VISITOR).release()
    permit = limiter.admit(VISITOR, again=True)
    with pytest.raises(RateLimited, match="streams"):
        limiter.admit(VISITOR, again=True)
    permit.release()
    with pytest.raises(RateLimited):
        limiter.admit(VISITOR)
