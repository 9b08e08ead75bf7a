"""The nouns that core, adapters and web share. All immutable; times are aware UTC datetimes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, Literal, TypeVar

Role = Literal["user", "assistant"]
FinishReason = Literal["stop", "length", "cancelled"]
Status = Literal["complete", "interrupted"]
T = TypeVar("T")


def now() -> datetime:
    """The current time, cut to MongoDB's millisecond, so that what is stored equals what was made."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def new_id() -> str:
    """32 hexadecimal digits, unguessable."""
    return uuid.uuid4().hex


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


@dataclass(frozen=True, slots=True)
class Generation:
    """One order to the engine: continue `prompt` by at most `max_tokens` tokens, ending before any of `stops`."""

    prompt: str
    max_tokens: int
    stops: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    context_size: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """The engine's next piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing came for a moment (about half a second): the chance to notice that the client has left."""


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


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counts them, a beginning-of-sequence token included; None where it could not say."""

    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True, slots=True)
class Message:
    """One stored message, exactly as it was said."""

    id: str
    conversation_id: str
    role: Role
    text: str
    created_at: datetime
    status: Status = "complete"
    finish_reason: FinishReason | None = None
    usage: Usage | None = None

    @property
    def turn(self) -> Turn:
        return Turn(self.role, self.text)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation belongs to exactly one owner (`key:ID`) and one bot."""

    id: str
    owner: str
    bot: str
    title: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list; `next_cursor` asks for the following part, None at the end."""

    items: Sequence[T]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Bot:
    """Who answers. `format` is a prompt format's name, or "auto" for the appliance's own."""

    id: str
    name: str
    system: str = ""
    persona: str = ""
    greeting: str = ""
    format: str = "auto"
    sampling: str = "balanced"
    max_tokens: int = 512

    @property
    def instructions(self) -> str:
        """System text and persona as the one text that a prompt format calls S."""
        return "\n\n".join(part for part in (self.system, self.persona) if part)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key as it is stored: `digest` is the SHA-256 of its secret half, in hexadecimal."""

    id: str
    name: str
    scopes: frozenset[str]
    digest: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking: the verified key behind a request."""

    key_id: str
    name: str
    scopes: frozenset[str]

    @property
    def owner(self) -> str:
        return f"key:{self.key_id}"
