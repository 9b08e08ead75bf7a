"""The conversations' routes over a real mongod; the engine alone is a fake."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.app import create_apps
from chatproxy.core.access import Identity
from chatproxy.core.keys import Keyring
from chatproxy.parts import Given
from chatproxy.settings import Settings
from tests.integration.proxy.history.conftest import Talk
from tests.unit.proxy.fakes import FakeBots, FakeEngine
from tests.unit.proxy.memory import MemoryKeys

URL = "/api/v1/conversations"


class Holder:
    """A key's holder over HTTP."""

    def __init__(self, history: MongoHistory) -> None:
        keys = MemoryKeys()
        key, record = Keyring(keys).create("test", frozenset({"chat"}))
        self.identity = Identity(record.id, "test", frozenset({"chat"}))
        given = Given(engines=(FakeEngine(),), history=history, keys=keys, bots=FakeBots(), checks=())
        self.client: FlaskClient = create_apps(Settings(trusted_hops=0), given).public.test_client()
        self.client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        self.history = history

    def talk(self, user_id: str | None = None) -> Talk:
        owner = self.identity.owner if user_id is None else self.identity.owner_of(user_id)
        talk = Talk(self.history, owner=owner)
        talk.ask("Hi")
        return talk

    def call(self, method: str, path: str, status: int = 200, **arguments: Any) -> Any:
        response = self.client.open(path, method=method, **arguments)
        assert response.status_code == status, response.text
        return json.loads(response.data)


@pytest.fixture
def holder(history: MongoHistory) -> Holder:
    return Holder(history)


def test_a_conversation_from_title_to_export(holder: Holder) -> None:
    talk = holder.talk("ada")
    old = talk.ask("old")
    _, answer = talk.ask("new", instead_of=old[0])
    url, user = f"{URL}/{talk.conversation.id}", "?user_id=ada"
    assert holder.call("PATCH", url + user, json={"title": "Ahoy"})["title"] == "Ahoy"
    sent = {"rating": "down", "comment": "$where: 1"}
    holder.call("POST", f"/api/v1/messages/{answer.id}/feedback{user}", json=sent)
    read = holder.call("GET", url + user)
    assert [message["text"] for message in read["messages"]] == ["Hi", "", "new", ""]
    assert read["messages"][3]["feedback"] == sent
    del read["next_cursor"]
    assert holder.call("GET", f"{url}/export{user}") == read
    for method, path in (("GET", url), ("GET", f"{url}/export"), ("DELETE", url), ("GET", f"{url}?user_id=bob")):
        holder.call(method, path, 404)
    holder.call("POST", f"/api/v1/messages/{answer.id}/feedback", 404, json=sent)


def test_users_are_deleted_one_by_one_or_all(holder: Holder, history: MongoHistory) -> None:
    stranger = Holder(history)
    for each in (None, "ada", "ada", "bob"):
        holder.talk(each)
    stranger.talk("ada")
    assert holder.call("DELETE", "/api/v1/users/ada") == {"deleted": 2}
    assert len(holder.call("GET", f"{URL}?user_id=bob")["conversations"]) == 1
    assert holder.call("DELETE", f"{URL}?all_users=true") == {"deleted": 2}
    assert len(stranger.call("GET", f"{URL}?user_id=ada")["conversations"]) == 1


@pytest.mark.parametrize(
    "query", ["cursor=x", "cursor=", "cursor={}", "cursor[$gt]=", "cursor=1-$ne", "user_id[$ne]=x", "limit[$gt]=1"]
)
def test_operators_in_a_query_are_refused_before_the_database_sees_them(holder: Holder, query: str) -> None:
    talk = holder.talk()
    for path in (URL, f"{URL}/{talk.conversation.id}"):
        assert holder.call("GET", f"{path}?{query}", 400)["error"]["code"] == "invalid_request"
