"""Whatever a browser can get of either listener: headers, policy, frames and cookies, over the whole route tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from werkzeug.test import TestResponse

from tests.unit.proxy.fakes import World
from tests.unit.proxy.routes import console_routes, routes
from tests.unit.proxy.web.console.browsing import ORIGIN, Browser, admitted

ARGUMENT = re.compile(r"<(?:\w+:)?\w+>")
SHOP = "https://shop.example"
PUBLIC_PAGES = {"/chat", "/embed", "/demo"}
# What a page may be made of. 'self' is the appliance; nothing inline, no eval, no other host.
SOURCES = {"'none'", "'self'"}


class Markup(HTMLParser):
    """What would run without a file of ours."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._in_script = tag == "script"
        if tag == "style" or "style" in given:
            self.inline.append(tag)
        self.inline += [name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)


def policy(response: TestResponse) -> dict[str, str]:
    (given,) = response.headers.getlist("Content-Security-Policy")
    parts = [part.strip().partition(" ") for part in given.split(";")]
    assert len({name for name, _, _ in parts}) == len(parts), "only the first of a directive counts"
    return {name: value for name, _, value in parts}


def answers(world: World, browser: Browser) -> Iterator[tuple[str, str, TestResponse]]:
    """(listener, rule, answer) of every route: as a stranger, with a key or logged in; and of no route."""
    strangers, keyed = world.app.test_client(), world.client()
    for method, rule in [*routes(), ("GET", "/nowhere")]:
        for client in (strangers, keyed):
            yield "public", rule, client.open(ARGUMENT.sub("x", rule), method=method, data=b"{}")
    for method, rule in [*console_routes(), ("GET", "/nowhere")]:
        path = ARGUMENT.sub("0" * 32, rule)
        yield "console", rule, world.console.test_client().open(path, method=method, headers={"Origin": ORIGIN})
        yield "console", rule, browser.client.open(path, method=method, headers={"Origin": ORIGIN})


@pytest.fixture(scope="module")
def given() -> list[tuple[str, str, TestResponse]]:
    world = World()
    return list(answers(world, admitted(world)))


def test_pages_are_where_they_are_expected(given: list[tuple[str, str, TestResponse]]) -> None:
    pages = {(listener, rule) for listener, rule, answer in given if answer.mimetype == "text/html"}
    assert {rule for listener, rule in pages if listener == "public"} == PUBLIC_PAGES
    assert {"/", "/login", "/conversations", "/knowledge", "/bots", "/keys"} <= {
        rule for at, rule in pages if at == "console"
    }


def test_no_answer_is_guessed_to_be_of_another_type(given: list[tuple[str, str, TestResponse]]) -> None:
    assert {rule for _, rule, answer in given if answer.headers.get("X-Content-Type-Options") != "nosniff"} == set()


def test_no_answer_tells_others_where_a_visitor_was(given: list[tuple[str, str, TestResponse]]) -> None:
    allowed = {"public": {"no-referrer"}, "console": {"same-origin"}}
    assert {rule for at, rule, answer in given if answer.headers.get("Referrer-Policy") not in allowed[at]} == set()


def test_no_policy_lets_anything_foreign_or_inline_in(given: list[tuple[str, str, TestResponse]]) -> None:
    for _, rule, answer in given:
        rules = policy(answer)
        assert rules["default-src"] == "'none'", rule
        fetched = {
            name: value for name, value in rules.items() if name.endswith("-src") or name in ("base-uri", "form-action")
        }
        assert {source for value in fetched.values() for source in value.split()} <= SOURCES, rule


def test_no_page_needs_what_its_policy_forbids(given: list[tuple[str, str, TestResponse]]) -> None:
    for _, rule, answer in given:
        if answer.mimetype == "text/html":
            assert Markup(answer.text).inline == [], rule


def test_nothing_may_be_framed(given: list[tuple[str, str, TestResponse]]) -> None:
    """But what /embed says to a page whose site key does not work: its people have to be able to read that."""
    for at, rule, answer in given:
        told = "*" if rule == "/embed" and at == "public" and answer.status_code == 403 else "'none'"
        assert policy(answer)["frame-ancestors"] == told, rule
        assert at == "public" or answer.headers["X-Frame-Options"] == "DENY"


def test_the_widgets_frame_stands_on_its_site_keys_pages_alone() -> None:
    world = World()
    key = world.site(SHOP)
    framed = world.app.test_client().get(f"/embed?site_key={key}")
    assert (framed.status_code, policy(framed)["frame-ancestors"]) == (200, SHOP)
    assert "X-Frame-Options" not in framed.headers
    assert policy(framed)["script-src"] == "'self'"
    assert policy(framed)["require-trusted-types-for"] == "'script'"
    assert Markup(framed.text).inline == []


def test_the_public_listener_sets_no_cookie(given: list[tuple[str, str, TestResponse]]) -> None:
    assert {rule for at, rule, answer in given if at == "public" and answer.headers.getlist("Set-Cookie")} == set()


def test_the_consoles_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    """Not `Secure`: inside the tunnel it is http, and WireGuard encrypts."""
    world = World()
    admitted(world)
    browser = Browser(world)
    for answer in (browser.log_in(), browser.post("/logout")):
        (cookie,) = answer.headers.getlist("Set-Cookie")
        fields = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/"} <= fields
        assert not any(field.startswith("domain") for field in fields)
