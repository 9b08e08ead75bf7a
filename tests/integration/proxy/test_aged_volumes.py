"""What earlier versions have stored is all there under this one, on the real services: tests/aged says what that was.

Each volume is started as an upgrade starts it: mongod's own entrypoint takes the data into a replica set, the proxy
brings its schema up to date, and nothing is asked of the operator.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests
from pymongo import MongoClient

from chatproxy.adapters.mongo_migrations import MIGRATIONS
from chatproxy.core import visitors
from chatproxy.core.types import now
from scripts.lib.native import NativeStack
from tests.aged import COMMITS, Aged
from tests.integration.proxy.conftest import until
from tests.integration.proxy.console.conftest import Visit, command
from tests.integration.proxy.knowledge.stores import Stores

ORIGIN = "https://shop.example"
# Of an answer, what the API did not tell yet in schema 1, and what it says of answers of that time.
SINCE = {"780f2a4": {"feedback": None}}
# What is written by being used, whatever the version.
CHANGING = {"keys", "sites", "admins"}


class Upgraded:
    """The present program on one commit's volumes; the engine and the embeddings are those that all tests share."""

    def __init__(self, aged: Aged, stack: NativeStack) -> None:
        self.aged, self.stack = aged, stack

    def start(self) -> None:
        for name in ("mongo", "chroma", "proxy", "worker"):
            self.stack.start(name)
        # It listens before its first look at the database, which is what brings the schema up to date.
        until(lambda: requests.get(f"{self.stack.proxy_url}/readyz", timeout=30).ok, seconds=60)

    def stop(self) -> None:
        for name in ("worker", "proxy", "chroma", "mongo"):
            self.stack.stop(name)

    def database(self) -> Any:
        password = self.stack.mongo_password_file.read_text()
        login = {"username": "chatproxy", "password": password, "authSource": "chatbot"}
        return MongoClient(f"{self.stack.mongo_url}/?directConnection=true", **login)["chatbot"]

    def stored(self) -> dict[str, dict[str, Any]]:
        """As the commit counted, before the answer that its kill interrupted."""
        late = self.aged.expected.get("interrupted", {}).get("conversation")
        database = self.database()
        found = {}
        for name in self.aged.expected["stored"]:
            query = {"_id": {"$ne": late}, "conversation_id": {"$ne": late}} if late else {}
            batches = list(database[name].find_raw_batches(query).sort("_id", 1))
            digest = hashlib.sha256(b"".join(batches)).hexdigest()
            found[name] = {"documents": database[name].count_documents(query), "sha256": digest}
        return found

    def call(self, method: str, path: str, token: str = "", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {token or self.aged.let_in.key}"} | ({"Origin": ORIGIN} if token else {})
        url = f"{self.stack.proxy_url}{path}"
        answer = requests.request(method, url, headers=headers, timeout=120, **more)
        assert answer.ok, answer.text
        return answer.json()

    def visitor(self, name: str) -> str:
        """A token of a visitor of then. The one of then bought the next one for ninety days alone."""
        serializer = visitors._serializer(self.aged.secrets["visitor_secret"], now)
        return f"{visitors.PREFIX}{serializer.dumps([self.aged.let_in.site, name, ORIGIN])}"

    def read(self, owner: str, path: str, **query: str) -> Any:
        kind, _, name = owner.partition(":")
        token = self.visitor(name) if kind == "visitor" else ""
        return self.call("GET", path, token, params=query | ({"user_id": name} if kind == "user" else {}))


@pytest.fixture(scope="module", params=COMMITS)
def upgraded(
    request: pytest.FixtureRequest, native: NativeStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgraded]:
    aged = Aged(request.param)
    folder = tmp_path_factory.mktemp(f"aged-{aged.commit}")
    aged.unpack(folder)
    stack = NativeStack(folder, native.model, with_proxy=True)
    for name in ("proxy", "worker"):
        stack.configure(name, ENGINE_URL=native.engine_url, EMBEDDINGS_URL=native.embeddings_url)
    one = Upgraded(aged, stack)
    try:
        one.start()
        yield one
    finally:
        stack.close()
        # mongod's journal is 100 MB of mostly nothing.
        shutil.rmtree(folder)


def test_every_document_is_as_it_was_and_the_schema_is_the_newest(upgraded: Upgraded) -> None:
    kept = {name: each for name, each in upgraded.aged.expected["stored"].items() if name not in CHANGING}
    assert kept["messages"]["documents"] > 4
    assert {name: each for name, each in upgraded.stored().items() if name not in CHANGING} == kept
    database = upgraded.database()
    assert upgraded.aged.expected["schema"] < len(MIGRATIONS)
    assert database["schema"].find_one({"_id": "version"})["number"] == len(MIGRATIONS)
    assert database.client.admin.command("hello")["setName"] == "chatbot"


def test_conversations_are_what_they_were(upgraded: Upgraded) -> None:
    since = SINCE.get(upgraded.aged.commit, {})
    listed: dict[str, list[str]] = {}
    for each in upgraded.aged.expected["conversations"]:
        told = each["told"]
        messages = [{**each, **(since if each["role"] == "assistant" else {})} for each in told["messages"]]
        assert upgraded.read(each["owner"], f"/api/v1/conversations/{told['id']}", limit="200") == {
            **told,
            "messages": messages,
        }
        listed.setdefault(each["owner"], []).append(told["id"])
    late = upgraded.aged.expected.get("interrupted", {}).get("conversation")
    for owner, ids in listed.items():
        found = [each["id"] for each in upgraded.read(owner, "/api/v1/conversations")["conversations"]]
        assert [each for each in found if each != late] == ids
    if upgraded.aged.expected["schema"] > 1:
        assert {owner.partition(":")[0] for owner in listed} == {"key", "user", "visitor"}


def test_an_answer_that_the_kill_interrupted_is_told_as_such(upgraded: Upgraded) -> None:
    interrupted = upgraded.aged.expected.get("interrupted")
    if upgraded.aged.expected["ended"] == "stopped":
        assert interrupted is None
        return
    question, answer = upgraded.call("GET", f"/api/v1/conversations/{interrupted['conversation']}")["messages"]
    assert (question["text"], question["status"]) == (interrupted["question"], "complete")
    assert (answer["id"], answer["status"]) == (interrupted["message"], "interrupted")


def test_searches_find_the_same_ten(upgraded: Upgraded) -> None:
    searches = upgraded.aged.expected.get("searches", [])
    assert bool(searches) == (upgraded.aged.expected["schema"] >= 9)
    for each in searches:
        assert len(each["found"]) == 10
        wanted = {"query": each["query"], "bot": "guide", "k": 10}
        assert upgraded.call("POST", "/api/v1/search", json=wanted)["passages"] == each["found"]
    if searches:
        told = [{**each, "job": None} for each in upgraded.call("GET", "/api/v1/knowledge/sources")["sources"]]
        then = [{**each, "job": None} for each in upgraded.aged.expected["sources"]]
        assert sorted(told, key=_id) == sorted(then, key=_id)


def test_who_had_a_way_in_has_it_still(upgraded: Upgraded) -> None:
    listed = command(upgraded.stack, "keys", "list", "--json")
    then = [_unused(each) for each in upgraded.aged.expected["keys"]]
    kept = [{name: each[name] for name in old} for old, each in zip(then, _keys(listed.stdout), strict=True)]
    assert kept == then
    let_in = upgraded.aged.let_in
    if let_in.site:
        body = json.dumps({"site_key": let_in.site})
        headers = {"Origin": ORIGIN, "Content-Type": "text/plain"}
        url = f"{upgraded.stack.proxy_url}/api/v1/visitors"
        assert requests.post(url, data=body, headers=headers, timeout=30).ok
    if let_in.admin:
        visit = Visit(upgraded.stack)
        assert visit.log_in(let_in.admin, let_in.password).status_code == 303
        assert "Fruit &amp; rivers" in visit.get("/conversations").text
        assert visit.log_in(let_in.admin, "another password").status_code != 303


def test_a_second_start_changes_nothing(upgraded: Upgraded) -> None:
    before = _whole(upgraded)
    upgraded.stop()
    upgraded.start()
    assert _whole(upgraded) == before


def test_with_an_empty_chroma_the_vectors_are_made_anew_by_themselves(upgraded: Upgraded) -> None:
    """What the operator is told to do where Chroma's data do not fit: take its volume away."""
    searches = upgraded.aged.expected.get("searches", [])
    if not searches:
        return
    upgraded.stop()
    shutil.rmtree(upgraded.stack.data / "chroma")
    (upgraded.stack.data / "chroma").mkdir()
    upgraded.start()
    jobs = {"kind": "rebuild", "state": "done"}
    until(lambda: upgraded.database()["jobs"].count_documents(jobs) == 1, 120)
    stores = Stores(upgraded.stack)
    assert stores.vectors("site") == stores.searched("site")
    for each in searches:
        wanted = {"query": each["query"], "bot": "guide", "k": 10}
        found = upgraded.call("POST", "/api/v1/search", json=wanted)["passages"]
        # Vectors that were reckoned beside other texts differ in their last digits, and so may what is equally near.
        assert [passage["text"] for passage in found[:3]] == [passage["text"] for passage in each["found"][:3]]


def test_old_conversations_go_on_and_new_ones_begin(upgraded: Upgraded) -> None:
    """The last of these tests: it writes."""
    old = next(each["told"] for each in upgraded.aged.expected["conversations"] if each["owner"] == "key")
    body = {"message": "Go on.", "conversation_id": old["id"], "stream": True}
    begun = requests.post(
        f"{upgraded.stack.proxy_url}/api/v1/chat",
        json=body,
        headers={"Authorization": f"Bearer {upgraded.aged.let_in.key}"},
        stream=True,
        timeout=120,
    )
    assert begun.ok, begun.text
    answer = begun.headers["X-Message-Id"]
    upgraded.call("POST", f"/api/v1/chat/{answer}/cancel")
    begun.close()
    messages = upgraded.call("GET", f"/api/v1/conversations/{old['id']}", params={"limit": "200"})["messages"]
    assert [each["id"] for each in messages[:-2]] == [each["id"] for each in old["messages"]]
    assert (messages[-2]["text"], messages[-1]["id"]) == ("Go on.", answer)
    new = upgraded.call("POST", "/api/v1/chat", json={"message": "Hello", "bot": "guide"})
    assert len(upgraded.call("GET", f"/api/v1/conversations/{new['conversation_id']}")["messages"]) == 2


def _whole(upgraded: Upgraded) -> Mapping[str, str]:
    """A digest of every collection: documents and indexes; without what tells when it was last used."""
    database = upgraded.database()
    # What is counted, and where what expires was last looked for.
    passing = {"usage", "minutes", "admin_sessions", "audit", "operations"}
    found = {}
    for name in sorted(set(database.list_collection_names()) - passing):
        digest = hashlib.sha256(repr(sorted(database[name].index_information().items())).encode())
        for batch in database[name].find_raw_batches({}).sort("_id", 1):
            digest.update(batch)
        found[name] = digest.hexdigest()
    return found


def _keys(listed: str) -> list[dict[str, Any]]:
    return list(json.loads(listed))


def _unused(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name != "last_used_at"}


def _id(each: Mapping[str, Any]) -> str:
    return str(each["id"])
