"""Visitors' tokens: bought from listed origins, good for minutes, renewed for the same visitor, ended with the key."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core.access import NO_LIMITS, Limits, Visit
from chatproxy.core.hourly import Hourly
from chatproxy.core.offered import chosen, offered
from chatproxy.core.sites import Sites
from chatproxy.core.types import Bot
from chatproxy.core.visitors import Visitors
from chatproxy.errors import NotFound, OriginNotAllowed, RateLimited, Unauthorized
from tests.unit.proxy.fakes import FakeBots
from tests.unit.proxy.memory import MemorySites, MemoryUsage

OWN, SHOP, WWW, EVIL = (
    "https://chat.example",
    "https://shop.example",
    "https://www.shop.example",
    "https://evil.example",
)
HOME = "192.0.2.1"


class Clock:
    def __init__(self) -> None:
        self.moment = datetime(2031, 5, 4, 12, 0, 15, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **length: float) -> None:
        self.moment += timedelta(**length)


class Door:
    """Visitors of a shop with two origins."""

    def __init__(self, *, own_page: bool = True, per_hour: int = 0, limits: Limits = NO_LIMITS) -> None:
        self.store, self.usage, self.clock = MemorySites(), MemoryUsage(), Clock()
        self.sites = Sites(self.store)
        self.site = self.sites.create("the shop", [SHOP, WWW], bots=["support"], limits=limits)
        self.visitors = Visitors(
            self.sites, self.usage, secret="s" * 32, own_page=own_page, new_per_hour=per_hour, clock=self.clock
        )

    def buy(self, origin: str | None = SHOP, *, site: str | None = None, old: str = "", address: str = HOME) -> str:
        key = self.site.id if site is None else site
        return self.visitors.issue(key, origin, OWN, address=address, old=old).text


def test_a_token_identifies_a_visitor_of_its_site() -> None:
    door = Door(limits=Limits(streams=1))
    identity = door.visitors.verify(door.buy(), SHOP)
    assert identity.scopes == {"visitor"}
    assert (identity.key_id, identity.name, identity.limits) == (door.site.id, "the shop", Limits(streams=1))
    assert identity.visit is not None
    assert identity.visit == Visit(door.site.id, identity.visit.visitor, frozenset({SHOP}), frozenset({"support"}))
    assert identity.owner == f"site:{door.site.id}/visitor:{identity.visit.visitor}"
    caller = identity.caller(HOME)
    assert (caller.owner, caller.payer, caller.visit) == (identity.owner, identity.owner, identity.visit)


def test_the_own_page_needs_no_site_key() -> None:
    door = Door()
    identity = door.visitors.verify(door.buy(OWN, site=""), OWN)
    assert identity.visit is not None
    assert identity.owner == f"site:/visitor:{identity.visit.visitor}"
    assert identity.visit.allows(Bot("any", "Any"))
    assert not identity.visit.allows(Bot("shops", "Shop's", origins=(SHOP,)))


def test_every_visitor_is_another_one() -> None:
    door = Door()
    owners = {door.visitors.verify(door.buy(origin), None).owner for origin in (SHOP, SHOP, WWW, OWN)}
    assert len(owners) == 4


def test_it_lasts_for_15_minutes_and_is_renewed_for_90_days() -> None:
    door = Door()
    token = door.buy()
    owner = door.visitors.verify(token, SHOP).owner
    door.clock.forward(minutes=14, seconds=58)
    assert door.visitors.verify(token, SHOP).owner == owner
    door.clock.forward(seconds=3)
    with pytest.raises(Unauthorized):
        door.visitors.verify(token, SHOP)
    door.clock.forward(days=89)
    renewed = door.buy(old=token)
    assert door.visitors.verify(renewed, SHOP).owner == owner
    door.clock.forward(days=90)
    again = door.buy(old=renewed)
    assert door.visitors.verify(again, SHOP).owner == owner
    door.clock.forward(days=90, seconds=2)
    assert door.visitors.verify(door.buy(old=again), SHOP).owner != owner


def test_a_token_of_a_clock_that_was_ahead_only_buys_the_next_one() -> None:
    door = Door()
    door.clock.forward(days=400)
    ahead = door.buy()
    owner = door.visitors.verify(ahead, SHOP).owner
    door.clock.forward(days=-400)
    with pytest.raises(Unauthorized):
        door.visitors.verify(ahead, SHOP)
    assert door.visitors.verify(door.buy(old=ahead), SHOP).owner == owner


@pytest.mark.parametrize("how", ["another site", "another origin", "the own page", "forged", "cut", "of another kind"])
def test_only_the_same_pages_own_token_is_renewed(how: str) -> None:
    door = Door()
    token = door.buy()
    visitor = door.visitors.verify(token, SHOP).owner.rpartition(":")[2]
    other = door.sites.create("other", [SHOP, EVIL])
    stranger = Visitors(door.sites, door.usage, secret="t" * 32, clock=door.clock)
    renewed = {
        "another site": lambda: door.visitors.issue(other.id, SHOP, OWN, address=HOME, old=token),
        "another origin": lambda: door.visitors.issue(door.site.id, WWW, OWN, address=HOME, old=token),
        "the own page": lambda: door.visitors.issue("", OWN, OWN, address=HOME, old=token),
        "forged": lambda: stranger.issue(door.site.id, SHOP, OWN, address=HOME, old=token),
        "cut": lambda: door.visitors.issue(door.site.id, SHOP, OWN, address=HOME, old=token[:-1]),
        "of another kind": lambda: door.visitors.issue(door.site.id, SHOP, OWN, address=HOME, old="kb_" + token[3:]),
    }[how]()
    assert renewed.visitor != visitor


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_token_ends_with_its_site_key(end: str) -> None:
    door = Door()
    token = door.buy()
    if end == "revoked":
        door.sites.revoke(door.site.id)
    else:
        door.store.expire(door.site.id, datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(Unauthorized):
        door.visitors.verify(token, SHOP)
    with pytest.raises(OriginNotAllowed, match="no such site key") as caught:
        door.buy(old=token)
    assert "unknown, expired or revoked" in caught.value.public


def test_a_token_of_the_own_page_ends_when_that_is_switched_off() -> None:
    token = Door().buy(OWN, site="")
    closed = Door(own_page=False)
    with pytest.raises(Unauthorized):
        closed.visitors.verify(token, OWN)
    with pytest.raises(OriginNotAllowed) as caught:
        closed.buy(OWN, site="")
    assert "CHAT_PAGE" in caught.value.public
    assert closed.visitors.verify(closed.buy(), SHOP).key_id == closed.site.id


def test_a_token_works_from_its_own_origin_or_where_none_is_told() -> None:
    door = Door()
    token = door.buy()
    for origin in (SHOP, None):
        assert door.visitors.verify(token, origin).key_id == door.site.id
    for origin in (WWW, OWN, EVIL, "null", ""):
        with pytest.raises(OriginNotAllowed):
            door.visitors.verify(token, origin)


@pytest.mark.parametrize("origin", [EVIL, SHOP + ".evil.example", SHOP + "/", "null", "", "https://SHOP.example"])
def test_other_origins_buy_nothing_and_are_told_how_to_mend_it(origin: str) -> None:
    door = Door()
    with pytest.raises(OriginNotAllowed) as caught:
        door.buy(origin)
    public = caught.value.public
    assert f"is not among the origins of site key {door.site.id} (the shop)." in public
    assert WWW not in public
    assert SHOP not in public.replace(origin, "")
    if origin == EVIL:
        assert public.startswith(f"{EVIL} is not")
        assert public.endswith(f"A key for it: make key NAME='the shop' ORIGINS={EVIL}")
    with pytest.raises(OriginNotAllowed) as caught:
        door.buy(origin, site="")
    assert "data-site-key" in caught.value.public


@pytest.mark.parametrize("key", ["site_" + "0" * 16, "kb_x", "*", "None"])
def test_an_unknown_site_key_buys_nothing(key: str) -> None:
    door = Door()
    for origin in (SHOP, OWN, None):
        with pytest.raises(OriginNotAllowed):
            door.buy(origin, site=key)


def test_what_is_no_token_of_ours_is_refused_alike() -> None:
    door = Door()
    token = door.buy()
    texts = ["kv_", "kv_..", "kv_x.y.z", token[:-1], token + "A", "kv_" + token, "kv_\xe9", "kv_" + "a" * 2000]
    wrong = base64.urlsafe_b64encode(b'["", "x", ""]').decode().rstrip("=")
    texts.append("kv_" + wrong + token[token.index(".") :])
    told = set()
    for text in texts:
        with pytest.raises(Unauthorized) as caught:
            door.visitors.verify(text, SHOP)
        told.add(caught.value.public)
    assert len(told) == 1


@given(st.integers(0, 400), st.characters(codec="utf-8"))
def test_a_token_with_one_character_changed_is_refused(place: int, character: str) -> None:
    door = Door()
    token = door.buy()
    place %= len(token)
    changed = token[:place] + character + token[place + 1 :]
    # Both alphabets of base64 are read: + is -, and / is _.
    same = str.maketrans("+/", "-_")
    # The last character of base64 has bits that do not count.
    if changed.translate(same) != token and place < len(token) - 1 and token[place + 1] != ".":
        with pytest.raises(Unauthorized):
            door.visitors.verify(changed, SHOP)


def test_without_a_secret_a_token_is_good_in_its_own_process_alone() -> None:
    sites = Sites(MemorySites())
    one, another = (Visitors(sites, MemoryUsage()) for _ in range(2))
    token = one.issue("", OWN, OWN, address=HOME).text
    assert one.verify(token, OWN).key_id == "chat-page"
    with pytest.raises(Unauthorized):
        another.verify(token, OWN)


def test_new_visitors_are_counted_by_address_and_renewals_are_not() -> None:
    door = Door(per_hour=2)
    token = door.buy()
    door.buy()
    with pytest.raises(RateLimited) as caught:
        door.buy()
    assert caught.value.public == "Too many new visitors came from your network. Try again in 60 minutes."
    assert caught.value.retry_after == 3585
    calls = door.usage.calls
    with pytest.raises(RateLimited):
        door.buy()
    assert door.usage.calls == calls  # a closed door costs no write
    assert door.visitors.verify(door.buy(old=token), SHOP).owner == door.visitors.verify(token, SHOP).owner
    door.buy(address="192.0.2.2")
    door.buy(address="")
    door.clock.forward(hours=1)
    door.buy()


def test_a_refused_page_does_not_use_up_an_addresss_visitors() -> None:
    door = Door(per_hour=1)
    with pytest.raises(OriginNotAllowed):
        door.buy(EVIL)
    door.buy()


def test_hours_are_counted_apart_and_zero_is_no_limit() -> None:
    usage, clock = MemoryUsage(), Clock()
    for _ in range(5):
        Hourly(usage, "x", 0, clock=clock).count("a", "No.")
    assert usage.calls == 0
    hourly = Hourly(usage, "x", 1, clock=clock)
    hourly.count("a", "No.")
    hourly.count("b", "No.")
    clock.forward(minutes=59)
    with pytest.raises(RateLimited, match="x of a") as caught:
        hourly.count("a", "No.")
    assert (caught.value.public, caught.value.retry_after) == ("No. Try again in 1 minute.", 45)
    clock.forward(minutes=1)
    hourly.count("a", "No.")


SUPPORT, SALES, OPEN = Bot("support", "Support"), Bot("sales", "Sales", origins=(WWW,)), Bot("open", "Open")


def _visit(origins: set[str], *bots: str) -> Visit:
    return Visit("site_x", "v", frozenset(origins), frozenset(bots))


@pytest.mark.parametrize(
    ("visit", "ids"),
    [
        (_visit({SHOP}), ["open", "support"]),
        (_visit({WWW}), ["open", "sales", "support"]),
        (_visit({SHOP, WWW}), ["open", "sales", "support"]),  # in a frame, where the page's origin is not told
        (_visit({SHOP}, "support", "sales"), ["support"]),
        (_visit({WWW}, "sales"), ["sales"]),
        (_visit({SHOP}, "gone"), []),
    ],
)
def test_a_visitor_has_the_site_keys_bots_less_those_of_other_origins(visit: Visit, ids: list[str]) -> None:
    bots = FakeBots(OPEN, SALES, SUPPORT)
    assert [bot.id for bot in offered(bots, visit)] == ids
    for bot in bots.all():
        if bot.id in ids:
            assert chosen(bots, bot.id, "open", visit) == bot
        else:
            with pytest.raises(NotFound):
                chosen(bots, bot.id, "open", visit)
    choose: Callable[[], Bot] = lambda: chosen(bots, None, "support", visit)  # noqa: E731
    if ids:
        assert choose().id == ("support" if "support" in ids else ids[0])
    else:
        with pytest.raises(NotFound, match="no bot"):
            choose()
