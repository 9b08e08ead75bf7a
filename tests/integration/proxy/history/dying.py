"""A proxy that dies: begins an edit and ends its own process at the N-th thing that it says to or hears from MongoDB.

    python -m tests.integration.proxy.history.dying N      the rest as JSON on standard input

Exit code 9: it died there. 0: it got to the end, there is no N-th thing.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pymongo import monitoring

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.core.types import Conversation, Message, now

DIED = 9


class DiesAt(monitoring.CommandListener):
    """Counts commands on conversations and messages, before they are sent and after they are answered."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.ours: set[int] = set()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command.get(event.command_name) in ("conversations", "messages"):
            self.ours.add(event.request_id)
            self._count()

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if event.request_id in self.ours:
            self._count()

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(DIED)


def main() -> None:
    told: dict[str, Any] = json.load(sys.stdin)
    monitoring.register(DiesAt(int(sys.argv[1])))
    history = MongoHistory(Database(told["url"], "chatbot", user="chatproxy", password=told["password"]))
    where = Conversation(told["conversation"], told["owner"], "bot", "title", now(), now())
    question, answer = told["ids"]
    pair = [
        Message(question, where.id, "user", "edited", now()),
        Message(answer, where.id, "assistant", "", now(), "interrupted"),
    ]
    history.begin(where, pair, new=told["new"], instead_of=told["instead_of"])


if __name__ == "__main__":
    main()
