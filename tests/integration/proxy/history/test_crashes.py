"""The proxy or mongod dies in the middle of a `begin`: nothing acknowledged is lost, no conversation is torn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from pymongo import monitoring

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.core.types import new_id
from scripts.lib.native import ROOT, NativeStack
from tests.integration.proxy.history.conftest import Client, Talk
from tests.integration.proxy.history.dying import DIED

Places = Callable[[Talk], dict[str, int]]
LAST_STEP = 30  # far beyond what one begin says and hears


def _begin_and_die(server: NativeStack, talk: Talk, ids: list[str], instead_of: str | None, step: int) -> bool:
    """Whether it died before its end."""
    told = {
        "url": server.mongo_url,
        "password": server.mongo_password_file.read_text().strip(),
        "conversation": talk.conversation.id,
        "owner": talk.owner,
        "ids": ids,
        "instead_of": instead_of,
        "new": talk.new,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "tests.integration.proxy.history.dying", str(step)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proxy'}"},
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode in (0, DIED), ended.stderr
    return ended.returncode == DIED


def test_a_proxy_that_dies_while_editing_leaves_the_old_version_or_the_new_one(
    server: NativeStack, history: MongoHistory, places: Places
) -> None:
    outcomes = []
    for step in range(1, LAST_STEP):
        talk = Talk(history)
        kept, old = talk.ask("kept"), talk.ask("old")
        edited = [new_id(), new_id()]
        died = _begin_and_die(server, talk, edited, old[0].id, step)
        before, after = [m.id for m in (*kept, *old)], [kept[0].id, kept[1].id, *edited]
        assert talk.ids in (before, after)
        assert (edited[0] in places(talk)) == (talk.ids == after)
        outcomes.append(talk.ids == after)
        # And the conversation goes on, from whichever it is; trying the edit again ends in it.
        history.begin(talk.conversation, talk.pair("edited"), new=False, instead_of=talk.ids[2])
        assert talk.questions == ["kept", "edited"]
        if not died:
            break
    assert not died
    assert outcomes == sorted(outcomes), "once it shows, it shows"
    assert set(outcomes) == {False, True}


def test_a_proxy_that_dies_while_beginning_a_conversation_leaves_no_message_without_one(
    server: NativeStack, history: MongoHistory, places: Places
) -> None:
    for step in range(1, LAST_STEP):
        talk = Talk(history)
        died = _begin_and_die(server, talk, [new_id(), new_id()], None, step)
        stored = places(talk)
        assert list(stored.values()) in ([], [0, 1])
        if stored:
            assert talk.ids == list(stored)
        if not died:
            assert stored
            return
    pytest.fail("it never came to its end")


class KillsServer(monitoring.CommandListener):
    """Kills mongod after the first answer to a command of the armed kind and starts it again.

    All that before the caller goes on, who then finds a server that has forgotten what was not on disk.
    """

    def __init__(self, server: NativeStack) -> None:
        self.server, self.armed = server, ""

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        pass

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if event.command_name == self.armed:
            self.armed = ""
            self.server.stop("mongo", kill=True)
            self.server.start("mongo")

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


@pytest.fixture(scope="module")
def killer(server: NativeStack) -> Iterator[KillsServer]:
    listener = KillsServer(server)
    monitoring.register(listener)  # for clients made from here on; there is no way back, so it is disarmed at the end
    yield listener
    listener.armed = ""


@pytest.mark.parametrize(
    ("command", "new"),
    [("insert", True), ("find", True), ("findAndModify", False), ("insert", False), ("find", False)],
)
def test_a_mongod_that_dies_between_two_steps_loses_and_doubles_nothing(
    killer: KillsServer, database: Database, places: Places, command: str, new: bool
) -> None:
    """`insert` is the first step of a new conversation and the second of a known one, `find` the third."""
    talk = Talk(MongoHistory(database))
    if not new:
        talk.ask("before")
    talk.history.conversations(talk.owner, limit=1, cursor=None)  # connected, the schema is known
    pair = talk.pair("now")
    killer.armed = command
    talk.begin(*pair)
    assert not killer.armed
    expected = ["now"] if new else ["before", "now"]
    assert talk.questions == expected
    stored = places(talk)
    assert stored[pair[1].id] == stored[pair[0].id] + 1
    assert len(stored) == 2 * len(expected)


def test_what_begin_has_acknowledged_survives_a_kill(
    server: NativeStack, history: MongoHistory, places: Places
) -> None:
    talks = [Talk(history) for _ in range(10)]
    for talk in talks:
        first = talk.ask("one")
        talk.ask("two")
        talk.ask("one, edited", instead_of=first[0])
    server.stop("mongo", kill=True)
    server.start("mongo")
    for talk in talks:
        assert talk.questions == ["one, edited"]
        assert list(places(talk).values()) == [0, 1, 2, 3, 4, 5]
        talk.ask("and on")
        assert talk.questions == ["one, edited", "and on"]


def test_a_begin_costs_one_flush_of_the_journal(talk: Talk, root: Client) -> None:
    def syncs() -> int:
        return int(root["admin"].command("serverStatus")["wiredTiger"]["log"]["log sync operations"])

    talk.ask("warm")
    count, before, begun = 200, syncs(), time.monotonic()
    for number in range(count):
        talk.ask(str(number))
    # mongod itself flushes every 100 ms.
    by_itself = (time.monotonic() - begun) / 0.1
    spent = syncs() - before
    assert count <= spent <= 1.1 * count + by_itself + 2, f"{spent} flushes for {count} questions"
