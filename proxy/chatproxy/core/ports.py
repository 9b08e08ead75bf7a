"""What core needs from the outside world. Adapters implement these; tests hand in fakes that do."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from chatproxy.core.access import KeyRecord, Limits, SiteKey
from chatproxy.core.crawling import Crawled, Scope, Validators
from chatproxy.core.frontier import CrawlState
from chatproxy.core.knowledge import Document
from chatproxy.core.passages import Explained, Fit, Hit, Passage
from chatproxy.core.types import (
    Bot,
    BotProblem,
    Conversation,
    Embedded,
    EngineEvent,
    Feedback,
    Generation,
    Image,
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

    def most_images(self) -> int:
        """Images that one prompt may hold; 0 where the model cannot see."""
        ...

    def image_tokens(self, image: Image) -> int:
        """What `image` takes of the context window: a careful estimate where the engine does not tell beforehand."""
        ...


class Engine(Tokenizer, Protocol):
    """A server that continues text. Every method raises EngineFailure or EngineTimeout."""

    def generate(self, generation: Generation) -> Generator[EngineEvent]:
        """Yield Idle as soon as the engine is asked, then Text and Idle, then exactly one Finish.

        Closing the iterator stops the engine's work.
        Raises Busy where the engine refuses because it is occupied, ContextTooLong where it refuses the length,
        InvalidRequest for an image that it cannot read.
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

    def images(self, owner: str, conversation_id: str, ids: Sequence[str]) -> Sequence[Image]:
        """With their data, in the order of `ids`; those that are gone are left out. Messages hold them without."""
        ...

    def begin(
        self, conversation: Conversation, messages: Sequence[Message], *, new: bool, instead_of: str | None = None
    ) -> None:
        """Append `messages` (a question and its coming answer, or such an answer alone) side by side.

        `new` creates the conversation first. `instead_of` is the id of the first message that they take the place of:
        it and everything behind it is superseded. Again with the same message ids nothing is stored twice.
        """
        ...

    def finish(self, message: Message, *, durable: bool = True) -> None:
        """Store anew the text, status, finish reason, usage and (where there are any) sources of a message.

        It was begun or looked up for its owner. Not `durable`: a crash of the database may lose this, as far as the
        last durable version. NotFound where the conversation has been deleted meanwhile: nothing of it comes back.
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

    def change(self, key_id: str, limits: Limits) -> bool:
        """Give a key other limits. Returns False where there is no such key."""
        ...

    def revoke(self, key_id: str, moment: datetime) -> bool:
        """Returns False where there is no such key."""

    def remove(self, key_id: str) -> None: ...

    def used(self, key_id: str, moment: datetime) -> None:
        """Note that the key has just been used."""
        ...


class SiteStore(Protocol):
    """Site keys by their id. Every method raises StorageUnavailable."""

    def add(self, site: SiteKey) -> None: ...

    def find(self, site_id: str) -> SiteKey | None: ...

    def all(self) -> Sequence[SiteKey]: ...

    def change(self, site_id: str, origins: Sequence[str], bots: Sequence[str], limits: Limits) -> bool:
        """Let a key be for other origins and bots, with other limits. Returns False where there is no such key."""
        ...

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

    def broken(self) -> Sequence[BotProblem]:
        """What is wrong with files as they are now, by name; one that is in use has its last good version."""
        ...

    def check(self, text: str) -> Bot | Sequence[BotProblem]:
        """The bot that a file with this text would be, or all that is wrong with it."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors that lie close together where the texts mean the same."""

    def embed(self, texts: Sequence[str]) -> Embedded:
        """One vector for each text, in order. Raises a ChatProxyError where the service gives none."""
        ...


class Vectors(Protocol):
    """Chunks as vectors, in named collections. Every method raises a ChatProxyError where the store is away."""

    def nearest(self, collection: str, vectors: Sequence[Sequence[float]], count: int) -> Sequence[Sequence[Hit]]:
        """For each vector the chunks nearest to it, best first, scored by cosine.

        None for an unknown collection, and for one whose vectors are another model's or not yet all there.
        """
        ...


class VectorIndex(Vectors, Protocol):
    """Vectors that can be changed. What returned is stored; everything may be repeated."""

    def put(self, collection: str, vectors: Mapping[str, Sequence[float]]) -> None:
        """Store vectors by chunk id, in place of what was there under it; makes the collection."""
        ...

    def remove(self, collection: str, ids: Sequence[str]) -> None:
        """Forget these chunks; unknown ones are passed over."""
        ...

    def drop(self, collection: str) -> None:
        """Forget a whole collection, known or not."""
        ...

    def begin(self, collection: str) -> None:
        """Empty a collection that is then filled with `put`; nothing is found in it until `finish`."""
        ...

    def finish(self, collection: str) -> None:
        """All of a collection that was begun is there."""
        ...

    def fit(self, collection: str) -> Fit:
        """Whether its vectors are the present model's."""
        ...


class Words(Protocol):
    """Chunks by their words, in named collections."""

    def best(self, collection: str, text: str, count: int) -> Sequence[Hit]:
        """The chunks that fit the words of `text` best, best first, scored by BM25. None for an unknown collection."""
        ...

    def size(self, collection: str) -> int:
        """How many chunks a collection has, 0 for an unknown one."""
        ...


class PassageStore(Protocol):
    """The chunks themselves."""

    def passages(self, ids: Sequence[str]) -> Mapping[str, Passage]:
        """By id; those that are gone are missing. Raises StorageUnavailable."""
        ...


class Reranker(Protocol):
    """A model that reads question and text together."""

    def relevance(self, question: str, texts: Sequence[str]) -> Sequence[float] | None:
        """For each text how well it answers, from 0 to 1; None where no such model is set up. Raises a ChatProxyError.

        A long text is read up to the model's own length.
        """
        ...


class Passages(Protocol):
    """Finds what the owner's documents say about a question."""

    def find(self, collections: Sequence[str], question: str, count: int, *, before: str = "") -> Sequence[Passage]:
        """At most `count` passages, best first; none where nothing is relevant enough.

        `before` is the question asked before this one, "" for the first. Raises a ChatProxyError.
        """
        ...

    def explain(self, collections: Sequence[str], question: str, count: int) -> Explained:
        """What `find` does for a first question, with how each passage came up. Raises as `find` does."""
        ...


class Mailer(Protocol):
    """Sends e-mails."""

    def send(self, letter: Letter) -> None:
        """Hand the letter to a mail server. Raises MailFailed where none has taken it."""
        ...


class Crawler(Protocol):
    """Reads websites."""

    def crawl(
        self, scope: Scope, known: Mapping[str, Validators] | None = None, state: CrawlState | None = None
    ) -> Iterator[Crawled]:
        """What `scope` holds: pages, those unchanged, and the addresses without a page. Raises InvalidRequest.

        `known` are the pages read before: each is asked for again, on condition that it has changed. `state` goes on
        from where it was stored (CrawlState.to_dict) and may be stored after any result; it has not `ended` where the
        crawl was stopped.
        """
        ...


class Parser(Protocol):
    """Reads documents."""

    def parse(self, path: Path, media_type: str, name: str) -> Document:
        """The document at `path`; `media_type` and `name` (a file's own name) help where its bytes do not tell.

        Raises DocumentError, whatever the file is.
        """
        ...


class HealthCheck(Protocol):
    """One dependency, as /readyz names it."""

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """Raises Unhealthy with a short reason; takes a few seconds at most."""
        ...
