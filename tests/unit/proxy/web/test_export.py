"""A conversation as one file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from werkzeug.test import TestResponse

from chatproxy.core.types import Conversation, Feedback, Message, Page, new_id, now
from chatproxy.errors import StorageUnavailable
from tests.unit.proxy.fakes import World
from tests.unit.proxy.memory import MemoryHistory


class Stage:
    """A stored conversation and its export."""

    def __init__(self, title: str = "My title", history: MemoryHistory | None = None) -> None:
        world = World(history=history or MemoryHistory())
        key = world.key("chat")
        self.history, self.client = world.history, world.app.test_client()
        self.client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        self.where = Conversation(new_id(), f"key:{key.split('_')[1]}", "assistant", title, now(), now())
        self.history.begin(self.where, [], new=True)

    def say(self, question: str, answer: str, instead_of: str | None = None) -> tuple[Message, Message]:
        pair = (
            Message(new_id(), self.where.id, "user", question, now()),
            Message(new_id(), self.where.id, "assistant", answer, now()),
        )
        self.history.begin(self.where, pair, new=False, instead_of=instead_of)
        return pair

    def export(self, query: str = "") -> TestResponse:
        return self.client.get(f"/api/v1/conversations/{self.where.id}/export{query}")


def test_json_is_what_reading_page_by_page_shows() -> None:
    stage = Stage()
    for number in range(450):
        stage.say(f'question {number} 🙂 \u2028 "quoted"', f"answer {number}\n</script>")
    exported = stage.export()
    assert exported.content_type == "application/json; charset=utf-8"
    assert exported.headers["Content-Disposition"] == 'attachment; filename="conversation-My_title.json"'
    told = json.loads(exported.data)
    messages: list[object] = []
    cursor = ""
    while True:
        page = stage.client.get(f"/api/v1/conversations/{stage.where.id}?limit=200{cursor}").json
        assert page is not None
        messages += page.pop("messages")
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    del page["next_cursor"]
    assert told == {**page, "messages": messages}
    assert len(messages) == 900


def test_superseded_messages_are_left_out_and_feedback_is_in() -> None:
    stage = Stage()
    old, _ = stage.say("old question", "old answer")
    _, answer = stage.say("new question", "new answer", instead_of=old.id)
    stage.history.rate(stage.where.owner, answer.id, Feedback("down", "too\nshort"))
    told = json.loads(stage.export("?format=json").data)
    assert [message["text"] for message in told["messages"]] == ["new question", "new answer"]
    assert told["messages"][1]["feedback"] == {"rating": "down", "comment": "too\nshort"}
    markdown = stage.export("?format=markdown").text
    assert "old" not in markdown
    assert "\nRated down\n\n> too\n> short\n" in markdown


def test_markdown_quotes_what_was_said_so_that_it_cannot_pass_for_a_speaker() -> None:
    stage = Stage("A\ttitle")
    question, answer = stage.say("Hi\r\n\r\n**Assistant**, forged\r# heading", "")
    stage.history.finish(replace(answer, text="Hel", status="interrupted"))
    exported = stage.export("?format=markdown")
    assert exported.content_type == "text/markdown; charset=utf-8"
    assert exported.headers["Content-Disposition"].endswith('.md"')
    moments = [m.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z") for m in (question, answer)]
    assert exported.text.split("\n", 3)[3] == (
        f"\n**User**, {moments[0]}\n\n> Hi\n>\n> **Assistant**, forged\n> # heading\n"
        f"\n**Assistant** (interrupted), {moments[1]}\n\n> Hel\n"
    )
    assert exported.text.startswith("# A title\n\nWith assistant, begun 20")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ('../../etc/passwd"; x="', "etc_passwd_x"),
        ("a\r\nSet-Cookie: b", "a_Set-Cookie_b"),
        ("Größe", "Groe"),
        ("x" * 300, "x" * 60),
        ("..", None),
        ("会話", None),
        ("", None),
    ],
)
def test_the_files_name_is_safe(title: str, name: str | None) -> None:
    stage = Stage(title)
    stage.say("Hi", "Hello")
    told = stage.export().headers["Content-Disposition"]
    assert told == f'attachment; filename="conversation-{name or stage.where.id}.json"'


def test_an_empty_conversation_is_a_whole_file() -> None:
    stage = Stage()
    assert json.loads(stage.export().data)["messages"] == []
    assert stage.export("?format=markdown").text.count("\n") == 3


@pytest.mark.parametrize("query", ["?format=pdf", "?format=", "?limit=3", "?format=json&format=json"])
def test_bad_parameters_are_refused(query: str) -> None:
    assert Stage().export(query).status_code == 400


class Failing(MemoryHistory):
    """Goes down after the first page of an export."""

    def messages(self, owner: str, conversation_id: str, *, limit: int, cursor: str | None) -> Page[Message]:
        page = super().messages(owner, conversation_id, limit=limit, cursor=cursor)
        self.down = True
        return page


def test_a_failure_in_the_middle_breaks_the_transfer_off() -> None:
    stage = Stage(history=Failing())
    for number in range(300):
        stage.say(str(number), "x")
    with pytest.raises(StorageUnavailable):
        _ = stage.export().data
    assert stage.export().status_code == 503  # before it begins, an error has its status
