"""The nouns that core, adapters and web share. All immutable; times are aware UTC datetimes."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Generic, Literal, TypeVar

Role = Literal["user", "assistant"]
FinishReason = Literal["stop", "length", "cancelled", "rule"]
Mode = Literal["chat", "sources-only"]
Status = Literal["complete", "interrupted"]
T = TypeVar("T")
# An image's place in a prompt. Engine adapters put there what theirs wants; no user's text holds it (core.neutral).
IMAGE_MARK = "<__media__>"


def now() -> datetime:
    """The current time, cut to MongoDB's millisecond, so that what is stored equals what was made."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def new_id() -> str:
    """32 hexadecimal digits, unguessable."""
    return uuid.uuid4().hex


def id_from(*parts: str) -> str:
    """32 hexadecimal digits, the same for the same parts."""
    digest = hashlib.blake2b(digest_size=16, person=b"chatproxy id")
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part.encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampler settings under KoboldAI's names; None means "not asked for", so the engine's own default holds.

    Only what was asked for is sent: koboldcpp falls back to a single slot when rarely used samplers are named.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    top_a: float | None = None
    typical: float | None = None
    tfs: float | None = None
    rep_pen: float | None = None
    rep_pen_range: int | None = None
    rep_pen_slope: float | None = None
    sampler_order: tuple[int, ...] | None = None
    sampler_seed: int | None = None
    ban_eos_token: bool | None = None
    grammar: str | None = None
    # OpenAI's two: taken off a token's logit for each time, or once, that it stands in the answer.
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


NOTHING_ASKED = Sampling()


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as given, sides in pixels; `id` is "" until a message has it. Messages are read without the `data`."""

    media_type: str
    width: int
    height: int
    data: bytes = field(default=b"", repr=False)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """One order to the engine: continue `prompt` by at most `max_tokens` tokens, ending before any of `stops`. It holds
    IMAGE_MARK once for each of `images`, in their order. `slot` is the number of the engine's own slot that is to do
    it, where it has numbered ones; None = any."""

    prompt: str
    max_tokens: int
    stops: tuple[str, ...] = ()
    sampling: Sampling = NOTHING_ASKED
    context_size: int | None = None
    images: tuple[Image, ...] = ()
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """The engine's next piece of text: `tokens` of them (or fewer), those that had come since the last look."""

    text: str
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing to tell yet: the request is out, or about half a second was silent. The chance to look at the client."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The engine's end of generation; token counts are None where the engine does not report them."""

    reason: Literal["stop", "length"]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


EngineEvent = Text | Idle | Finish


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said, as far as a prompt is concerned."""

    role: Role
    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counts them, a beginning-of-sequence token included; None where it could not say."""

    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True, slots=True)
class Embedded:
    """Texts as vectors, one for each, all of one length; `tokens` is what the texts came to, None where not told."""

    vectors: Sequence[Sequence[float]]
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody thought of an answer."""

    rating: Literal["up", "down"]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What an answer rests on: passage number `n`, as "[n]" in the answer means it, and where it can be read.

    `url` is "" for a file without an address; `snippet` is the passage's beginning.
    """

    n: int
    title: str
    url: str
    snippet: str


@dataclass(frozen=True, slots=True)
class Message:
    """One stored message, exactly as it was said.

    An answer is stored empty and "interrupted" together with its question, and completed later: whatever happens in
    between, its id is known and it can be resumed. `finish_reason` is None while an interrupted answer can be resumed.
    """

    id: str
    conversation_id: str
    role: Role
    text: str
    created_at: datetime
    status: Status = "complete"
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    feedback: Feedback | None = None
    sources: tuple[Source, ...] = ()
    images: tuple[Image, ...] = ()

    @property
    def turn(self) -> Turn:
        return Turn(self.role, self.text, self.images)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation belongs to exactly one owner (see Identity.owner) and one bot.

    It is kept for `retention_days` after its last message, each of its messages for as long after itself; None = for
    ever.
    """

    id: str
    owner: str
    bot: str
    title: str
    created_at: datetime
    updated_at: datetime
    retention_days: int | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What has been said in a conversation, oldest first, as far as a prompt looks back."""

    conversation: Conversation
    messages: Sequence[Message]

    @property
    def turns(self) -> list[Turn]:
        """Without answers that never began."""
        return [message.turn for message in self.messages if message.text]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list; `next_cursor` asks for the following part, None at the end."""

    items: Sequence[T]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A fixed answer: given where the question holds one of `phrases` as whole words, in any letter case."""

    phrases: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Theme:
    """How a bot's chat window looks; "" = as the widget has it. Colours are #rrggbb."""

    accent: str = ""
    accent_text: str = ""
    color_scheme: str = ""  # auto, light or dark
    position: str = ""  # right or left


@dataclass(frozen=True, slots=True)
class Bot:
    """Who answers. `format` is a prompt format's name, or "auto" for the appliance's own.

    `examples` are example dialogues, each a list of turns that shows how the bot talks. `rules` answer without the
    engine. `max_message` is the longest question in characters, `retention_days` how long conversations are kept.
    `languages` are those of its chat window, the first one where none fits the visitor. Visitors of other web pages
    than `origins` cannot see it, where any are listed. Conversations are handed over to people at `handoff_email`.
    `consent` is what a visitor has to agree to first. `knowledge` are the collections whose passages it answers from;
    in the mode "sources-only" it says `refusal` where they hold nothing about a question. An answer ends before any of
    `never_say`.
    """

    id: str
    name: str
    system: str = ""
    persona: str = ""
    examples: tuple[tuple[Turn, ...], ...] = ()
    greeting: str = ""
    format: str = "auto"
    sampling: str = "balanced"
    max_tokens: int = 512
    max_message: int | None = None
    rules: tuple[Rule, ...] = ()
    retention_days: int | None = None
    quick_replies: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    theme: Theme = Theme()
    origins: tuple[str, ...] = ()
    handoff_email: str = ""
    consent: str = ""
    knowledge: tuple[str, ...] = ()
    mode: Mode = "chat"
    refusal: str = "I have found nothing about this in our documents."
    never_say: tuple[str, ...] = ()

    @property
    def instructions(self) -> str:
        """System text and persona as the one text that a prompt format calls S."""
        return "\n\n".join(part for part in (self.system, self.persona) if part)

    @property
    def unsaid(self) -> tuple[str, ...]:
        """`never_say` in the cases that a model may write it in."""
        cased = ((text, text.lower(), text.upper(), text.title()) for text in self.never_say)
        return tuple(dict.fromkeys(chain.from_iterable(cased)))


@dataclass(frozen=True, slots=True)
class BotProblem:
    """A bot's file that is wrong. `line` counts from 1, None where it is the file itself; `in_use` tells that its last
    good version still answers."""

    bot: str
    file: str
    line: int | None
    reason: str
    in_use: bool = False


@dataclass(frozen=True, slots=True)
class Letter:
    """An e-mail in plain text; answers to it go to `reply_to`."""

    to: str
    reply_to: str
    subject: str
    text: str
