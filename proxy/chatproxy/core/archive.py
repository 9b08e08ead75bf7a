"""The owner's look at everybody's conversations: what is looked for, and the port that finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from chatproxy.core.rules import is_unspaced
from chatproxy.core.types import Conversation, Message, Page
from chatproxy.errors import InvalidRequest

Rating = Literal["", "good", "bad", "any"]
_LONGEST_TEXT, _MOST_WORDS = 200, 16


@dataclass(frozen=True, slots=True)
class Look:
    """What is looked for; what is empty is no condition.

    `text` are words that a message holds, all of them, in any case and order. `rating` is what its reader thought of
    it. `interrupted` are answers that did not come to their end. With any of these messages are looked for, else whole
    conversations. `since` (included) and `until` (not) are about the message, or the conversation's last change.
    """

    text: str = ""
    bot: str = ""
    rating: Rating = ""
    interrupted: bool = False
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_for_messages(self) -> bool:
        return bool(self.text or self.rating or self.interrupted)

    @property
    def words(self) -> tuple[str, ...]:
        """Of `text`. Raises InvalidRequest for too many."""
        words = tuple(dict.fromkeys(self.text.replace('"', " ").split()))
        if len(self.text) > _LONGEST_TEXT or len(words) > _MOST_WORDS:
            raise InvalidRequest(f"text: must be at most {_MOST_WORDS} words of {_LONGEST_TEXT} characters together")
        return words

    @property
    def is_in_index(self) -> bool:
        """Whether an index of words can find it: scripts without spaces and mere signs have none."""
        return all(any(sign.isalnum() for sign in word) and not any(map(is_unspaced, word)) for word in self.words)


@dataclass(frozen=True, slots=True)
class Found:
    """A message, and the conversation that it stands in.

    `cursor` has a page of History.messages begin with this message, or with the question right before an answer.
    """

    conversation: Conversation
    message: Message
    cursor: str


class Archive(Protocol):
    """Conversations of all owners, newest first. Every method raises StorageUnavailable.

    Lists raise InvalidRequest for a cursor that was not given out, and for what cannot be found in time.
    """

    def conversations(self, look: Look, *, limit: int, cursor: str | None) -> Page[Conversation]:
        """Those of the bot and time that `look` names."""
        ...

    def messages(self, look: Look, *, limit: int, cursor: str | None) -> Page[Found]:
        """Messages that are everything that `look` asks for; those that were replaced are left out."""
        ...

    def conversation(self, conversation_id: str) -> Conversation:
        """Raises NotFound."""
        ...

    def message(self, conversation_id: str, message_id: str) -> Found:
        """Also one that was replaced. Raises NotFound where the conversation has none of that id."""
        ...

    def bots(self) -> Sequence[str]:
        """Ids of the bots that conversations are with, also of those that are gone."""
        ...
