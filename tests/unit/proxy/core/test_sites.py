"""Site keys are bound to exact origins, end at once, and cost browsers' questions one look in two seconds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chatproxy.core.access import Limits
from chatproxy.core.origins import is_origin
from chatproxy.core.sites import Sites
from chatproxy.core.types import now
from chatproxy.errors import InvalidRequest, NotFound
from tests.unit.proxy.memory import MemorySites

SHOP, WWW = "https://shop.example", "https://www.shop.example"


class Seconds:
    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return self.passed


@pytest.mark.parametrize(
    "origin",
    [
        SHOP,
        "http://localhost:3000",
        "http://127.0.0.1:8080",
        "https://[::1]:8443",
        "https://xn--bcher-kva.example",
        "http://intranet",
        "https://a_b.example:80",
    ],
)
def test_what_a_browser_sends_is_an_origin(origin: str) -> None:
    assert is_origin(origin)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "null",
        "shop.example",
        SHOP + "/",
        SHOP + "/page",
        "https://Shop.example",
        "HTTPS://shop.example",
        "https://*.shop.example",
        "https://shop.example:443",
        "http://shop.example:80",
        "https://shop.example:0",
        "https://shop.example:0443",
        "https://shop.example:99999",
        "https://user@shop.example",
        "https://shop.example?x",
        "https://shop.example\n",
        "https://shop.example'; script-src *",
        "https://.shop.example",
        "ftp://shop.example",
        "javascript://shop.example",
        "https://b\u00fccher.example",
        "https://" + "a" * 300,
    ],
)
def test_what_no_browser_sends_is_none(text: str) -> None:
    assert not is_origin(text)


def test_a_site_key_is_kept_as_it_was_wished() -> None:
    store = MemorySites()
    limits = Limits(requests_per_minute=5, streams=0)
    made = Sites(store).create("home", [SHOP, WWW, SHOP], bots=["support"], expires_days=3, limits=limits)
    assert store.sites == {made.id: made}
    assert made.id.startswith("site_")
    assert len(made.id) == len("site_") + 16
    assert (made.origins, made.bots, made.limits) == ((SHOP, WWW), ("support",), limits)
    assert made.expires_at == made.created_at + timedelta(days=3)


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"origins": []}, "origins: "),
        ({"origins": [SHOP, "*"]}, "origins: "),
        ({"origins": [f"https://{number}.example" for number in range(101)]}, "origins: "),
        ({"bots": ["../x"]}, "bots: "),
        ({"name": " "}, "name: "),
        ({"expires_days": 0}, "expires-days: "),
        ({"limits": Limits(streams=5000)}, "streams: "),
    ],
)
def test_bad_wishes_are_refused_and_nothing_is_stored(wish: dict[str, object], field: str) -> None:
    store = MemorySites()
    with pytest.raises(InvalidRequest) as caught:
        Sites(store).create(**{"name": "home", "origins": [SHOP], **wish})  # type: ignore[arg-type]
    assert caught.value.public.startswith(field)
    assert not store.sites


def test_only_a_working_key_is_found() -> None:
    store = MemorySites()
    sites = Sites(store)
    good, revoked, expired = (sites.create(name, [SHOP]) for name in ("good", "revoked", "expired"))
    sites.revoke(revoked.id)
    store.expire(expired.id, now() - timedelta(seconds=1))
    assert sites.working(good.id) == good
    for key in (revoked.id, expired.id, "site_" + "0" * 16, good.id.upper(), good.id + "\n", "", good.id[5:]):
        assert sites.working(key) is None
    for key in ("site_" + "0" * 16, "nope", "-x"):
        with pytest.raises(NotFound):
            sites.revoke(key)


def test_a_key_that_is_none_never_reaches_the_store() -> None:
    store = MemorySites()
    assert Sites(store).working('{"$gt": ""}') is None
    assert store.looked_up == []


def test_origins_are_those_of_working_keys_and_remembered_for_two_seconds() -> None:
    store, clock = MemorySites(), Seconds()
    sites = Sites(store, clock)
    first = sites.create("a", [SHOP])
    revoked = sites.create("b", ["https://gone.example"])
    sites.revoke(revoked.id)
    assert sites.origins() == {SHOP}
    sites.create("c", [WWW])
    clock.passed = 2.0
    assert (sites.origins(), store.listed) == ({SHOP}, 1)
    clock.passed = 2.1
    assert (sites.origins(), store.listed) == ({SHOP, WWW}, 2)
    sites.revoke(first.id)
    clock.passed = 4.2
    assert sites.origins() == {WWW}


def test_while_the_store_is_away_the_last_known_origins_count() -> None:
    store, clock = MemorySites(), Seconds()
    sites = Sites(store, clock)
    sites.create("a", [SHOP])
    assert sites.origins() == {SHOP}
    store.down, clock.passed = True, 5.0
    assert sites.origins() == {SHOP}
    assert sites.origins() == {SHOP}
    assert store.listed == 2  # not asked again at once
    assert Sites(store, clock).origins() == frozenset()


def test_a_changed_key_is_for_other_pages_and_bots_at_once() -> None:
    sites = Sites(MemorySites())
    site = sites.create("shop", [SHOP], bots=["a"], limits=Limits(streams=1))
    sites.change(site.id, [WWW, WWW], ["b"], Limits(requests_per_minute=5))
    changed = sites.working(site.id)
    assert changed is not None and changed == sites.record(site.id)
    assert (changed.origins, changed.bots, changed.limits) == ((WWW,), ("b",), Limits(requests_per_minute=5))
    for origins, bots, limits in (([], [], Limits()), (["x"], [], Limits()), ([SHOP], ["A B"], Limits())):
        with pytest.raises(InvalidRequest):
            sites.change(site.id, origins, bots, limits)
    with pytest.raises(InvalidRequest, match="tokens-per-day"):
        sites.change(site.id, [SHOP], [], Limits(tokens_per_day=-1))
    assert sites.record(site.id) == changed
    for unknown in ("site_" + "0" * 16, "nonsense"):
        with pytest.raises(NotFound):
            sites.change(unknown, [SHOP], [], Limits())
        with pytest.raises(NotFound):
            sites.record(unknown)
