"""Keys through the command line, and nobody reads another's conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Client, Proxy, running_proxy


def test_a_key_is_made_listed_used_and_revoked(proxy: Proxy) -> None:
    made = proxy.keys("create", "--name", "laptop", "--scopes", "chat", "--expires-days", "7", "--json")
    key = json.loads(made.stdout)
    assert key["key"].startswith(f"kb_{key['id']}_")
    assert key["expires_at"] > key["created_at"]
    client = Client(proxy.url, key["key"])
    assert client.chat("Hi").ok
    listed = proxy.keys("list")
    assert f"{key['id']}  chat" in listed.stdout
    assert key["key"].split("_", 2)[2] not in listed.stdout
    assert proxy.keys("revoke", key["id"]).returncode == 0
    assert client.chat("Hi").status_code == 401
    revoked = next(item for item in json.loads(proxy.keys("list", "--json").stdout) if item["id"] == key["id"])
    assert revoked["revoked_at"]
    assert proxy.keys("revoke", "nope").returncode == 1


def test_if_none_prints_a_key_only_the_first_time(native: NativeStack, tmp_path: Path) -> None:
    # A database of its own beside the stack's, whose user may not read it: the user's own database is named.
    url = f"{native.mongo_url}/?authSource=chatbot"
    with running_proxy(native, tmp_path, MONGO_URL=url) as proxy:
        create = ("create", "--name", "first", "--scopes", "chat,kobold,admin", "--if-none")
        proxy.new_key()
        again = proxy.keys(*create)
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


@pytest.mark.parametrize(("scope", "path"), [("kobold", "/api/v1/chat"), ("chat", "/api/v1/generate")])
def test_a_scope_opens_its_own_routes_only(proxy: Proxy, scope: str, path: str) -> None:
    client = proxy.as_(scope)
    response = client.session.post(proxy.url + path, json={"message": "Hi"}, timeout=30)
    assert response.status_code == 403


def test_somebody_elses_conversation_does_not_exist(proxy: Proxy) -> None:
    mine, yours = proxy.as_(), proxy.as_()
    conversation_id = mine.chat("Mine alone.").json()["conversation_id"]
    url = f"{proxy.url}/api/v1/conversations/{conversation_id}"
    assert yours.session.get(url, timeout=10).status_code == 404
    assert yours.session.delete(url, timeout=10).status_code == 404
    assert yours.chat("Let me in.", conversation_id=conversation_id).status_code == 404
    assert yours.session.get(f"{proxy.url}/api/v1/conversations", timeout=10).json()["conversations"] == []
    assert yours.session.delete(f"{proxy.url}/api/v1/conversations", timeout=10).json() == {"deleted": 0}
    assert len(mine.conversation(conversation_id)["messages"]) == 2


def test_conversations_are_paged_and_deleted(proxy: Proxy) -> None:
    client = proxy.as_()
    ids = [client.chat("Hi").json()["conversation_id"] for _ in range(3)]
    url = f"{proxy.url}/api/v1/conversations"
    first = client.session.get(f"{url}?limit=2", timeout=10).json()
    rest = client.session.get(f"{url}?limit=2&cursor={first['next_cursor']}", timeout=10).json()
    assert [item["id"] for item in first["conversations"] + rest["conversations"]] == ids[::-1]
    assert rest["next_cursor"] is None
    assert client.session.get(f"{url}?cursor=x", timeout=10).status_code == 400
    assert client.session.delete(f"{url}/{ids[0]}", timeout=10).json() == {"deleted": 1}
    assert client.session.get(f"{url}/{ids[0]}", timeout=10).status_code == 404
    assert client.session.delete(url, timeout=10).json() == {"deleted": 2}


def test_no_log_line_holds_content_or_keys(proxy: Proxy) -> None:
    client = proxy.as_()
    client.chat("A very private sentence.")
    requests.get(f"{proxy.url}/{client.key}", timeout=5)
    log = proxy.log.read_text()
    assert "POST /api/v1/chat status=200" in log
    assert "private sentence" not in log
    assert client.key not in log
