"""Keys are shown once, kept as digests, and refused alike whatever is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core.keys import Keyring
from chatproxy.core.types import now
from chatproxy.errors import InvalidRequest, NotFound, Unauthorized
from tests.unit.proxy.fakes import MemoryKeys

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
        ("a\nb", CHAT, None),
        ("a", frozenset[str](), None),
        ("a", frozenset({"root"}), None),
        ("a", CHAT, 0),
    ],
)
def test_bad_wishes_are_refused(name: str, scopes: frozenset[str], days: int | None) -> None:
    with pytest.raises(InvalidRequest):
        Keyring(MemoryKeys()).create(name, scopes, expires_days=days)


def test_revoking_what_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound, match="nope"):
        Keyring(MemoryKeys()).revoke("nope")
