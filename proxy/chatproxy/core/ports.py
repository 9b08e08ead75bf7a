"""What core needs from the outside world. Adapters implement these; tests hand in fakes that do."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Protocol

from chatproxy.core.types import Bot, Conversation, EngineEvent, Generation, KeyRecord, Message, Page


class Engine(Protocol):
    """A server that continues text. Every method raises EngineFailure or EngineTimeout."""

    def generate(self, generation: Generation) -> Generator[EngineEvent]:
        """Yield Text and Idle, then exactly one Finish. Closing the iterator stops the engine's work.

        Raises Busy where the engine refuses because it is occupied, ContextTooLong where it refuses the length.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` as a prompt, control strings recognised, with the engine's beginning-of-sequence token."""
        ...

    def context_size(self) -> int | None:
        """Tokens that one conversation may take, or None where the engine does not tell."""
        ...


class History(Protocol):
    """Conversations and messages. Every method raises StorageUnavailable; a write that returned is on disk.

    Somebody else's conversation does not exist: NotFound.
    """

    def create(self, conversation: Conversation) -> None: ...

    def conversation(self, owner: str, conversation_id: str) -> Conversation: ...

    def conversations(self, owner: str, *, limit: int, cursor: str | None) -> Page[Conversation]:
        """Newest first. Raises InvalidRequest for a cursor that was not given out."""
        ...

    def messages(self, owner: str, conversation_id: str, *, limit: int, cursor: str | None) -> Page[Message]:
        """Oldest first. Raises InvalidRequest for a cursor that was not given out."""
        ...

    def recent(self, owner: str, conversation_id: str) -> Sequence[Message]:
        """The newest messages, oldest first: all of them, or for very long conversations at least the last 400."""
        ...

    def add(self, owner: str, message: Message) -> None:
        """Append; adding the same message id twice stores it once."""
        ...

    def delete(self, owner: str, conversation_id: str) -> None: ...

    def delete_all(self, owner: str) -> int:
        """Delete every conversation of `owner`; returns how many there were."""
        ...


class KeyStore(Protocol):
    """API keys by their public id. Every method raises StorageUnavailable."""

    def add(self, key: KeyRecord) -> None: ...

    def find(self, key_id: str) -> KeyRecord | None: ...

    def all(self) -> Sequence[KeyRecord]: ...

    def revoke(self, key_id: str, moment: datetime) -> bool:
        """Returns False where there is no such key."""
        ...


class Bots(Protocol):
    """The bots that the operator has defined."""

    def get(self, bot_id: str) -> Bot:
        """Raises NotFound."""
        ...


class HealthCheck(Protocol):
    """One dependency, as /readyz names it."""

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """Raises Unhealthy with a short reason; takes a few seconds at most."""
        ...
