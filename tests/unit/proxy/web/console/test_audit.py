"""What is done, or tried, in the console and with admins' API keys stands in the audit, and no secret does."""

from __future__ import annotations

import re

import pytest

from chatproxy.core.audit import Audit
from tests.unit.proxy.fakes import World
from tests.unit.proxy.web.console.browsing import NAME, Browser, admitted


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def browser(world: World) -> Browser:
    return admitted(world)


def test_what_is_typed_into_the_wrong_field_is_not_written_down(
    world: World, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    browser.log_in("hunter2 is my password", "anna")
    browser.log_in(NAME, "hunter2 is my password")
    assert "hunter2" not in caplog.text and "hunter2" not in repr(world.audit.acts)
    assert [act.subject for act in world.audit.acts[-2:]] == ["an unknown name", NAME]


def test_done_and_refused_acts_are_written_down(world: World, browser: Browser) -> None:
    assert [(act.what, act.actor, act.outcome) for act in world.audit.acts] == [("log-in", NAME, "done")]
    stranger = Browser(world)
    stranger.post("/conversations/rules")
    browser.post("/conversations/rules", {"phrases": ""})
    told = [(act.actor, act.what, act.outcome) for act in world.audit.acts[-2:]]
    assert told == [("nobody", "rule.add", "unauthorized"), (NAME, "rule.add", "http_400")]
    shown = browser.get("/audit").text
    assert "rule.add" in shown and "unauthorized" in shown and "nobody" in shown
    assert "nobody" not in browser.get(f"/audit?actor={NAME}").text.partition("<tbody>")[2]


def test_an_act_is_done_and_logged_while_the_audit_cannot_be_stored(
    world: World, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    world.audit.away = True
    given = {"phrases": "lamp", "answer": "30 euros."}
    assert browser.post("/conversations/rules", given).status_code == 303
    assert len(world.rules.rules) == 1
    assert f"not stored: rule.add all bots by={NAME} outcome=done" in caplog.text


def test_the_audit_is_read_in_pages_without_losing_any(world: World, browser: Browser) -> None:
    audit = Audit(world.audit)
    for number in range(250):
        audit.note("operator", "", "key.create", f"n{number:03}.")
    seen, path = [], "/audit?actor=operator"
    while path:
        text = browser.get(path).text
        seen += re.findall(r"n\d{3}\.", text)
        link = re.search(r'href="(/audit\?cursor=[^"]+)"', text)
        path = link[1].replace("&amp;", "&") if link else ""
    assert seen == [f"n{number:03}." for number in reversed(range(250))]
    assert browser.get("/audit?cursor=x").status_code == 400


def test_acts_with_an_api_key_of_the_scope_admin_are_written_down(world: World) -> None:
    admin, chat = world.client("admin"), world.client("chat")
    key = next(id_ for id_, record in world.keys.keys.items() if "admin" in record.scopes)
    admin.get("/api/v1/knowledge/sources")
    chat.post("/api/v1/knowledge/jobs/0123456789abcdef/cancel")
    chat.post("/api/v1/chat", json={"message": "Hi"})
    assert world.audit.acts == []
    admin.post("/api/v1/knowledge/jobs/0123456789abcdef/cancel")
    (act,) = world.audit.acts
    assert (act.actor, act.what, act.subject, act.outcome) == (
        *(f"key:{key}", "knowledge.cancel", "0123456789abcdef", "http_404"),
    )
