"""A history that keeps nothing: answers whose text is shown once, and gone."""

from __future__ import annotations

from collections.abc import Sequence

from chatproxy.core.types import Conversation, Feedback, Image, Message, Page, Past
from chatproxy.errors import NotFound


class Unkept:
    """Implements core.ports.History over no storage: what is stored is forgotten, and there is nothing to find."""

    def conversation(self, owner: str, conversation_id: str) -> Conversation:
        raise NotFound("nothing is kept")

    def conversations(self, owner: str, *, limit: int, cursor: str | None) -> Page[Conversation]:
        return Page(())

    def messages(self, owner: str, conversation_id: str, *, limit: int, cursor: str | None) -> Page[Message]:
        raise NotFound("nothing is kept")

    def past(self, owner: str, conversation_id: str, *, before: str | None = None) -> Past:
        raise NotFound("nothing is kept")

    def message(self, owner: str, message_id: str) -> Message:
        raise NotFound("nothing is kept")

    def images(self, owner: str, conversation_id: str, ids: Sequence[str]) -> Sequence[Image]:
        return ()

    def begin(
        self, conversation: Conversation, messages: Sequence[Message], *, new: bool, instead_of: str | None = None
    ) -> None:
        """Forget them."""

    def finish(self, message: Message, *, durable: bool = True) -> None:
        """Forget it."""

    def rename(self, owner: str, conversation_id: str, title: str) -> Conversation:
        raise NotFound("nothing is kept")

    def rate(self, owner: str, message_id: str, feedback: Feedback | None) -> None:
        raise NotFound("nothing is kept")

    def delete(self, owner: str, conversation_id: str) -> None:
        raise NotFound("nothing is kept")

    def delete_all(self, owner: str, *, users: bool = False) -> int:
        return 0
