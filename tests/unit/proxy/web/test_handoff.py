"""POST /api/v1/conversations/ID/handoff, as clients see it."""

from __future__ import annotations

from typing import Any

import pytest

from chatproxy.errors import MailFailed
from tests.unit.proxy.fakes import MIRA, PEOPLE, World

ADDRESS = {"email": "visitor@example.com"}


def start(world: World, client: Any, bot: str = "assistant") -> str:
    told = client.post("/api/v1/chat", json={"message": "Hi", "bot": bot}).get_json()
    return f"/api/v1/conversations/{told['conversation_id']}/handoff"


def test_a_conversation_is_sent_to_the_bots_people() -> None:
    world = World()
    client = world.client()
    response = client.post(start(world, client), json={**ADDRESS, "note": "Please call"})
    assert (response.status_code, response.get_json()) == (202, {"sent": True})
    assert world.mailer is not None
    (letter,) = world.mailer.letters
    assert (letter.to, letter.reply_to) == (PEOPLE, "visitor@example.com")
    assert "> Please call\n" in letter.text
    assert "Assistant:\n> Hello there." in letter.text


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "email: is missing"),
        ({"email": ""}, "email: is missing"),
        ({"email": 5}, "email: must be text"),
        ({"email": "x"}, "email: "),
        ({"email": "a@example.com\r\nBcc: b@example.com"}, "email: "),
        ({"email": "x" * 255}, "email: has 255 characters, at most 254"),
        ({**ADDRESS, "note": "x" * 2001}, "note: has 2001 characters, at most 2000"),
        ({**ADDRESS, "to": "a@example.com"}, "to: no such field"),
    ],
)
def test_a_wrong_field_is_named(body: dict[str, Any], told: str) -> None:
    world = World()
    client = world.client()
    response = client.post(start(world, client), json=body)
    assert response.status_code == 400
    assert response.get_json()["error"]["message"].startswith(told)
    assert world.mailer is not None and world.mailer.letters == []


def test_it_is_a_404_without_a_mail_server_or_for_a_bot_without_people() -> None:
    without = World(mailer=None)
    client = without.client()
    assert client.post(start(without, client), json=ADDRESS).status_code == 404
    world = World()
    client = world.client()
    assert client.post(start(world, client, MIRA.id), json=ADDRESS).status_code == 404
    assert client.post("/api/v1/conversations/x/handoff", json=ADDRESS).status_code == 404


def test_a_failure_is_told_without_the_servers_name_and_loses_nothing() -> None:
    world = World()
    client = world.client()
    url = start(world, client)
    assert world.mailer is not None
    world.mailer.error = MailFailed("mail.internal:587: 535 no")
    response = client.post(url, json=ADDRESS)
    assert (response.status_code, response.get_json()["error"]["code"]) == (502, "mail_failed")
    assert "mail.internal" not in response.text
    assert client.get(url.removesuffix("/handoff")).status_code == 200


def test_the_sixth_within_an_hour_is_told_to_wait() -> None:
    world = World()
    client = world.client()
    url = start(world, client)
    statuses = [client.post(url, json=ADDRESS).status_code for _ in range(6)]
    response = client.post(url, json=ADDRESS)
    # An hour may end in between.
    assert statuses in ([202] * 5 + [429], [202] * 6)
    if response.status_code == 429:
        assert 0 < int(response.headers["Retry-After"]) <= 3600
