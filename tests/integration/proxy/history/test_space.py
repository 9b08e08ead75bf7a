"""A real mongod on a disk that is nearly full: it is told, nothing new is taken in, what is there can be read."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from chatproxy.adapters import mongo_space
from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.adapters.mongo_jobs import MongoJobs
from chatproxy.adapters.mongo_originals import MongoOriginals
from chatproxy.core.types import new_id
from chatproxy.errors import StorageFull, Unhealthy
from scripts.lib.native import NativeStack
from tests.integration.proxy.history.conftest import Talk


@pytest.fixture
def anew(server: NativeStack) -> Callable[[], Database]:
    """Another connection, which remembers nothing."""
    password = server.mongo_password_file.read_text().strip()
    return lambda: Database(server.mongo_url, "chatbot", user="chatproxy", password=password)


def test_a_full_disk_refuses_what_is_new_and_lets_the_rest_go_on(
    anew: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(MongoHistory(anew()))
    question, answer = talk.ask("Is there room?")
    monkeypatch.setattr(mongo_space, "LEAST_FREE", 2**60)  # no disk has so much
    full = anew()
    with pytest.raises(Unhealthy, match="disk is nearly full"):
        full.check()
    talk.history = MongoHistory(full)
    with pytest.raises(StorageFull):
        talk.ask("And now?")
    with pytest.raises(StorageFull):
        Talk(talk.history).ask("For somebody new?")
    with pytest.raises(StorageFull):
        MongoOriginals(full).keep(new_id(), io.BytesIO(b"text"))
    # The answer in progress is brought to its end, everything can be read, and taken away.
    talk.history.finish(replace(answer, text="There was.", status="complete", finish_reason="stop"))
    assert talk.ids == [question.id, answer.id]
    assert talk.history.message(talk.owner, answer.id).text == "There was."
    assert MongoJobs(full).open() == []
    talk.history.delete(talk.owner, talk.conversation.id)
    monkeypatch.undo()
    anew().check()
