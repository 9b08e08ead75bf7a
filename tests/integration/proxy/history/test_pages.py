"""Messages come in pages that no length of theirs makes large."""

from __future__ import annotations

from chatproxy.adapters.mongo_history import MongoHistory
from tests.integration.proxy.history.conftest import Talk


def test_a_page_of_long_messages_holds_fewer_and_none_is_left_out(history: MongoHistory, talk: Talk) -> None:
    said = [message.id for number in range(6) for message in talk.ask(f"{number}" + "x" * 90_000)]
    pages: list[list[str]] = []
    cursor: str | None = None
    while not pages or cursor:
        page = history.messages(talk.owner, talk.conversation.id, limit=200, cursor=cursor)
        pages.append([message.id for message in page.items])
        cursor = page.next_cursor
    assert [len(page) for page in pages] == [4, 4, 4]
    assert [message for page in pages for message in page] == said
