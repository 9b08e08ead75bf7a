"""Answers for clients that keep the conversation themselves: nothing is stored.

text   a prompt as it stands            Kobold, OpenAI's completions, Ollama's raw generate
chat   the client's own list of turns   OpenAI's chat completions, Ollama's chat
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace

from chatproxy.core.access import Caller
from chatproxy.core.generation import GenerationEvent, Generations, Place
from chatproxy.core.images import before_all, check_unpacked
from chatproxy.core.ports import Bots
from chatproxy.core.prompts import Formats, PromptFormat
from chatproxy.core.running import Running
from chatproxy.core.sampling import PRESETS
from chatproxy.core.types import NOTHING_ASKED, Bot, Generation, Image, Sampling, Turn, new_id
from chatproxy.core.window import Window
from chatproxy.errors import EngineFailure, Unavailable

DEFAULT_LENGTH = 200  # tokens; what koboldcpp generates when it is not told


@dataclass(frozen=True, slots=True)
class TextOrder:
    """Continue `prompt`, which is taken as it stands. `limit` bounds prompt and answer together, in tokens.

    With `memory` in front, which is kept, the beginning of a too long prompt is left out; without, it is refused.
    `run_id` is the name under which Running finds it. `images` stand in front of everything, as koboldcpp puts them.
    """

    caller: Caller
    prompt: str
    max_tokens: int = DEFAULT_LENGTH
    stops: tuple[str, ...] = ()
    sampling: Sampling = NOTHING_ASKED
    limit: int | None = None
    run_id: str | None = None
    memory: str = ""
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatOrder:
    """Answer the last of `turns`. `bot` None = the bare model with `system` alone; else that bot, and `system` is put
    behind its own instructions. What `sampling` does not say comes from the bot's preset."""

    caller: Caller
    turns: Sequence[Turn]
    system: str = ""
    bot: str | None = None
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    sampling: Sampling = NOTHING_ASKED
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """There is a place at the gate and the prompt fits: comes first, before it an error has its own HTTP status."""

    context_truncated: bool


class Completions:
    """Makes completions."""

    def __init__(
        self,
        generations: Generations,
        window: Window,
        bots: Bots,
        formats: Formats,
        running: Running,
    ) -> None:
        self._generations, self._window, self._running = generations, window, running
        self._bots, self._formats = bots, formats

    def text(self, order: TextOrder) -> Generator[Accepted | GenerationEvent]:
        """Yield Accepted first and Finished last. Raises Busy, RateLimited, ContextTooLong before, EngineFailure
        and Unavailable."""
        with self._generations.enter(order.caller) as place:
            texts = before_all(order.images, _whole(order.memory), _whole(order.prompt))
            with self._exchanged():
                prompt = self._window.check(*texts, order.max_tokens, order.limit, order.images)
            check_unpacked(order.images)
            generation = Generation(
                prompt.text, order.max_tokens, order.stops, order.sampling, prompt.context_size, order.images
            )
            yield Accepted(prompt.truncated)
            yield from self._run(place, order, generation, trim=False)

    def chat(self, order: ChatOrder) -> Generator[Accepted | GenerationEvent]:
        """Yield Accepted first and Finished last. Raises NotFound, and what `text` raises."""
        bot, prompt_format = self._bot(order)
        with self._generations.enter(order.caller, bot=bot.id) as place:
            with self._exchanged():
                fitted = self._window.fit(prompt_format, bot, order.turns)
            check_unpacked(fitted.prompt.images)
            stops = (*fitted.prompt.stops, *order.stops)
            sampling = _over(PRESETS[bot.sampling], order.sampling)
            yield Accepted(fitted.truncated)
            prompt = fitted.prompt
            generation = Generation(prompt.text, fitted.max_tokens, stops, sampling, fitted.context_size, prompt.images)
            yield from self._run(place, order, generation, trim=True)

    def sees(self) -> bool:
        """Whether the model takes images, as far as the engine tells."""
        return self._window.sees()

    def count_tokens(self, caller: Caller, text: str) -> int:
        """Tokens of `text` as a prompt, beginning-of-sequence token included. Raises RateLimited, EngineFailure."""
        with self._generations.permit(caller):
            return self._window.count_tokens(text) if text else 0

    @contextmanager
    def _exchanged(self) -> Iterator[None]:
        """Nobody can count tokens while the engine is being exchanged: that is no failure, and soon over."""
        try:
            yield
        except EngineFailure as failure:
            if self._generations.held:
                raise Unavailable(f"the engine is being exchanged: {failure}") from failure
            raise

    def _bot(self, order: ChatOrder) -> tuple[Bot, PromptFormat]:
        bot = self._bots.get(order.bot) if order.bot else Bot("", "Assistant", max_tokens=order.max_tokens or 512)
        prompt_format = self._formats.get(bot.format)
        # Whatever a client calls its system text may hold what its own users wrote.
        asked = prompt_format.neutral(bot, order.system)
        system = "\n\n".join(part for part in (bot.system, asked) if part)
        # The client keeps the conversation: whatever greeting there was is among its turns.
        return replace(bot, system=system, greeting="", max_tokens=order.max_tokens or bot.max_tokens), prompt_format

    def _run(
        self, place: Place, order: TextOrder | ChatOrder, generation: Generation, *, trim: bool
    ) -> Generator[GenerationEvent]:
        with (
            self._running.track(order.caller.owner, order.run_id or new_id()) as run,
            closing(self._generations.run(place, generation, trim=trim, run=run)) as events,
        ):
            yield from events


def _whole(text: str) -> str:
    """koboldcpp hands the prompt to C, where a NUL ends it."""
    return text.replace("\x00", "\ufffd")


def _over(preset: Sampling, asked: Sampling) -> Sampling:
    """The preset, with what was asked for in its place."""
    named = {field.name: getattr(asked, field.name) for field in fields(asked)}
    return replace(preset, **{name: value for name, value in named.items() if value is not None})
