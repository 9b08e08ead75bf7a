"""Keys are shown once, kept as digests, and refused alike whatever is wrong with them."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core.access import NO_LIMITS, Limits
from chatproxy.core.guesses import MOST_PER_MINUTE, Guesses
from chatproxy.core.keys import Keyring
from chatproxy.core.types import now
from chatproxy.errors import InvalidRequest, NotFound, RateLimited, Unauthorized
from tests.unit.proxy.memory import MemoryKeys
from tests.unit.proxy.waiting import until

CHAT = frozenset({"chat"})


def test_a_key_identifies_its_holder() -> None:
    keyring = Keyring(MemoryKeys())
    key, record = keyring.create("laptop", CHAT)
    identity = keyring.verify(key)
    assert (identity.name, identity.scopes, identity.owner) == ("laptop", CHAT, f"key:{record.id}")


def test_the_store_never_sees_the_key() -> None:
    store = MemoryKeys()
    key, _ = Keyring(store).create("laptop", CHAT)
    secret = key.rpartition("_")[2] if key.count("_") == 2 else key.split("_", 2)[2]
    assert secret not in repr(store.keys)


def test_expired_revoked_and_altered_keys_are_refused_alike() -> None:
    store = MemoryKeys()
    keyring = Keyring(store)
    revoked, record = keyring.create("a", CHAT)
    keyring.revoke(record.id)
    expired, record = keyring.create("b", CHAT, expires_days=1)
    store.keys[record.id] = replace(record, expires_at=now() - timedelta(seconds=1))
    good, record = keyring.create("c", CHAT)
    altered = good[:-1] + ("A" if good[-1] != "A" else "B")
    stranger = good.replace(record.id, "0" * 16)
    told = set()
    for key in (revoked, expired, altered, stranger, "kb_", ""):
        with pytest.raises(Unauthorized) as caught:
            keyring.verify(key)
        told.add(caught.value.public)
    assert len(told) == 1


@given(st.text() | st.from_regex(r"kb_.*", fullmatch=True) | st.just('{"$gt": ""}'))
def test_only_the_shape_of_a_key_reaches_the_store(key: str) -> None:
    store = MemoryKeys()
    with pytest.raises(Unauthorized):
        Keyring(store).verify(key)
    assert all(len(looked_up) == 16 and set(looked_up) <= set("0123456789abcdef") for looked_up in store.looked_up)


@pytest.mark.parametrize(
    ("name", "scopes", "days"),
    [
        ("", CHAT, None),
        (" ", CHAT, None),
        ("a\nb", CHAT, None),
        ("a\x1b[2Jb", CHAT, None),
        ("a\u202eb", CHAT, None),
        ("a\u2028b", CHAT, None),
        ("a\udc80b", CHAT, None),
        ("a" * 81, CHAT, None),
        ("a", frozenset[str](), None),
        ("a", frozenset({"root"}), None),
        ("a", CHAT, 0),
    ],
)
def test_bad_wishes_are_refused(name: str, scopes: frozenset[str], days: int | None) -> None:
    with pytest.raises(InvalidRequest):
        Keyring(MemoryKeys()).create(name, scopes, expires_days=days)


@pytest.mark.parametrize("name", ["Homepage", "Müllers Seite", "ホームページ", "a b"])
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert Keyring(MemoryKeys()).create(name, CHAT)[1].name == name


def test_a_key_carries_its_limits() -> None:
    keyring = Keyring(MemoryKeys())
    limits = Limits(requests_per_minute=60, streams=0)
    key, record = keyring.create("a", CHAT, limits=limits)
    assert record.limits == keyring.verify(key).limits == keyring.verify(key).caller("192.0.2.1").limits == limits


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (Limits(requests_per_minute=-1), "requests-per-minute"),
        (Limits(tokens_per_day=10**9), "tokens-per-day"),
        (Limits(streams=5000), "streams"),
    ],
)
def test_a_limit_out_of_range_is_named(limits: Limits, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field}: from 0"):
        Keyring(MemoryKeys()).create("a", CHAT, limits=limits)


@pytest.mark.parametrize("key_id", ["nope", "", '{"$gt": ""}', "0" * 16, "0" * 17])
def test_revoking_what_is_not_there_is_not_found(key_id: str) -> None:
    with pytest.raises(NotFound, match="no key"):
        Keyring(MemoryKeys()).revoke(key_id)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_use_is_noted_once_a_minute() -> None:
    store, clock = MemoryKeys(), Clock()
    keyring = Keyring(store, clock)
    key, record = keyring.create("a", CHAT)
    for _ in range(5):
        keyring.verify(key)
    until(lambda: store.keys[record.id].last_used_at)
    assert store.uses == 1
    clock.seconds += 60
    keyring.verify(key)
    until(lambda: store.uses == 2)


def test_a_use_that_cannot_be_noted_fails_nobody() -> None:
    store = MemoryKeys()
    keyring = Keyring(store)
    key, _ = keyring.create("a", CHAT)
    store.down = True
    assert keyring.verify(key).name == "a"
    until(lambda: store.uses)
    assert keyring.verify(key).name == "a"


def wrong(number: int) -> str:
    return f"kb_{number:016x}_{'A' * 43}"


def guess(keyring: Keyring, address: str, *, times: int = MOST_PER_MINUTE) -> None:
    for number in range(times):
        with pytest.raises(Unauthorized):
            keyring.verify(wrong(number), address)


def test_guessing_is_slowed_and_costs_no_look_ups() -> None:
    store, clock = MemoryKeys(), Clock()
    keyring = Keyring(store, clock)
    guess(keyring, "192.0.2.1")
    clock.seconds += 20
    looked_up = len(store.looked_up)
    for number in range(100):
        with pytest.raises(RateLimited) as caught:
            keyring.verify(wrong(number), "192.0.2.1")
    assert caught.value.retry_after == 40
    assert caught.value.public == "Too many wrong keys came from this address. Try again in 40 seconds."
    assert len(store.looked_up) == looked_up
    assert store.listed == 1
    clock.seconds += 40
    guess(keyring, "192.0.2.1")


def test_a_right_key_is_never_locked_out_by_guesses_from_its_own_address() -> None:
    store, clock = MemoryKeys(), Clock()
    keyring = Keyring(store, clock)
    old, _ = keyring.create("old", CHAT)
    guess(keyring, "192.0.2.1")
    assert keyring.verify(old, "192.0.2.1").name == "old"
    new, _ = keyring.create("new", CHAT)
    clock.seconds += 2.1
    assert keyring.verify(new, "192.0.2.1").name == "new"
    with pytest.raises(RateLimited):
        keyring.verify(new[:-1] + ("A" if new[-1] != "A" else "B"), "192.0.2.1")


def test_other_addresses_and_unknown_ones_are_not_slowed() -> None:
    keyring = Keyring(MemoryKeys(), Clock())
    guess(keyring, "2001:db8::1")
    with pytest.raises(RateLimited):
        keyring.verify(wrong(1), "2001:db8::2")
    with pytest.raises(Unauthorized):
        keyring.verify(wrong(1), "2001:db8:0:1::1")
    guess(keyring, "", times=2 * MOST_PER_MINUTE)


def test_a_revoked_key_is_slowed_like_any_wrong_one() -> None:
    store, clock = MemoryKeys(), Clock()
    keyring = Keyring(store, clock)
    key, record = keyring.create("a", CHAT)
    keyring.revoke(record.id)
    guess(keyring, "192.0.2.1")
    with pytest.raises(RateLimited):
        keyring.verify(key, "192.0.2.1")


def test_counting_wrong_keys_takes_bounded_memory() -> None:
    guesses = Guesses(Clock())
    for number in range(25_000):
        guesses.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert sys.getsizeof(guesses._wrong) < 2**21
    assert len(guesses._wrong) == 20_000


def test_changed_limits_count_with_the_next_look() -> None:
    ring = Keyring(MemoryKeys())
    key, record = ring.create("homepage", frozenset({"chat"}), limits=Limits(streams=4))
    ring.change(record.id, Limits(requests_per_minute=0))
    assert ring.verify(key).limits == ring.record(record.id).limits == Limits(requests_per_minute=0)
    with pytest.raises(InvalidRequest, match="streams: from 0"):
        ring.change(record.id, Limits(streams=5000))
    assert ring.record(record.id).limits == Limits(requests_per_minute=0)


@pytest.mark.parametrize("key_id", ["0" * 16, "nonsense", ""])
def test_there_is_nothing_to_change_or_show_of_an_unknown_key(key_id: str) -> None:
    ring = Keyring(MemoryKeys())
    for look in (ring.record, lambda key_id: ring.change(key_id, NO_LIMITS)):
        with pytest.raises(NotFound):
            look(key_id)
