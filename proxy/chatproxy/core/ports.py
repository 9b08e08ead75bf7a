"""What core needs from the outside world. Adapters implement these; tests hand in fakes that do."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Protocol

from chatproxy.core.access import KeyRecord, SiteKey
from chatproxy.core.types import (
    Bot,
    Conversation,
    Embedded,
    EngineEvent,
    Feedback,
    Generation,
    Letter,
    Message,
    Page,
    Past,
)


class Tokenizer(Protocol):
    """Measures prompts. Every method raises EngineFailure or EngineTimeout."""

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` as a prompt, control strings recognised, with the engine's beginning-of-sequence token."""
        ...

    def context_size(self) -> int | None:
        """Tokens that one conversation may take, or None where the engine does not tell."""
        ...

    def model(self) -> str:
        """The loaded model's name: with another one, tokens are others too."""
        ...


class Engine(Tokenizer, Protocol):
    """A server that continues text. Every method raises EngineFailure or EngineTimeout."""

    def generate(self, generation: Generation) -> Generator[EngineEvent]:
        """Yield Idle as soon as the engine is asked, then Text and Idle, then exactly one Finish.

        Closing the iterator stops the engine's work.
        Raises Busy where the engine refuses because it is occupied, ContextTooLong where it refuses the length.
        """
        ...


class History(Protocol):
    """Conversations and messages. Every method raises StorageUnavailable; a write that returned is on disk.

    Somebody else's conversation does not exist: NotFound.
    """

    def conversation(self, owner: str, conversation_id: str) -> Conversation: ...

    def conversations(self, owner: str, *, limit: int, cursor: str | None) -> Page[Conversation]:
        """Newest first. Raises InvalidRequest for a cursor that was not given out."""
        ...

    def messages(self, owner: str, conversation_id: str, *, limit: int, cursor: str | None) -> Page[Message]:
        """Oldest first; a page of long messages holds fewer. Raises InvalidRequest for a cursor not given out."""
        ...

    def past(self, owner: str, conversation_id: str, *, before: str | None = None) -> Past:
        """A conversation and its newest messages: all of them, or of very long ones at least the last 400.

        With `before` (a message id) only those in front of it. Superseded messages are left out, here and in
        `messages`.
        """
        ...

    def message(self, owner: str, message_id: str) -> Message: ...

    def begin(
        self, conversation: Conversation, messages: Sequence[Message], *, new: bool, instead_of: str | None = None
    ) -> None:
        """Append `messages` (a question and its coming answer, or such an answer alone) side by side.

        `new` creates the conversation first. `instead_of` is the id of the first message that they take the place of:
        it and everything behind it is superseded. Again with the same message ids nothing is stored twice.
        """
        ...

    def finish(self, message: Message, *, durable: bool = True) -> None:
        """Store anew the text, status, finish reason and usage of a message that was begun or looked up for its owner.

        Not `durable`: a crash of the database may lose this, as far as the last durable version. NotFound where the
        conversation has been deleted meanwhile: nothing of it comes back.
        """
        ...

    def rename(self, owner: str, conversation_id: str, title: str) -> Conversation: ...

    def rate(self, owner: str, message_id: str, feedback: Feedback | None) -> None:
        """Keep what the owner thought of an answer; None takes it back. InvalidRequest for a question."""
        ...

    def delete(self, owner: str, conversation_id: str) -> None: ...

    def delete_all(self, owner: str, *, users: bool = False) -> int:
        """Delete every conversation of `owner`, with `users` also those of its users (see Identity.owner_of).

        Returns how many there were.
        """
        ...


class KeyStore(Protocol):
    """API keys by their public id. Every method raises StorageUnavailable."""

    def add(self, key: KeyRecord) -> None: ...

    def find(self, key_id: str) -> KeyRecord | None: ...

    def all(self) -> Sequence[KeyRecord]: ...

    def revoke(self, key_id: str, moment: datetime) -> bool:
        """Returns False where there is no such key."""
        ...

    def used(self, key_id: str, moment: datetime) -> None:
        """Note that the key has just been used."""
        ...


class SiteStore(Protocol):
    """Site keys by their id. Every method raises StorageUnavailable."""

    def add(self, site: SiteKey) -> None: ...

    def find(self, site_id: str) -> SiteKey | None: ...

    def all(self) -> Sequence[SiteKey]: ...

    def revoke(self, site_id: str, moment: datetime) -> bool:
        """Returns False where there is no such key."""
        ...


class UsageStore(Protocol):
    """Counters that survive a restart of this process. Every method raises StorageUnavailable."""

    def add(self, counter: str, amount: int, *, expires_at: datetime) -> int:
        """Add to a counter, made on first use and gone after `expires_at`; returns its new value."""
        ...

    def read(self, counter: str) -> int:
        """A counter's value, 0 where there is none."""
        ...


class Bots(Protocol):
    """The bots that the operator has defined."""

    def get(self, bot_id: str) -> Bot:
        """Raises NotFound."""
        ...

    def all(self) -> Sequence[Bot]:
        """Those that can answer, by id."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors that lie close together where the texts mean the same."""

    def embed(self, texts: Sequence[str]) -> Embedded:
        """One vector for each text, in order. Raises a ChatProxyError where the service gives none."""
        ...


class Mailer(Protocol):
    """Sends e-mails."""

    def send(self, letter: Letter) -> None:
        """Hand the letter to a mail server. Raises MailFailed where none has taken it."""
        ...


class HealthCheck(Protocol):
    """One dependency, as /readyz names it."""

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """Raises Unhealthy with a short reason; takes a few seconds at most."""
        ...
