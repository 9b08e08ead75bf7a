"""The context window: what of a conversation still fits the model, decided before the engine would cut it silently.

Always kept: system text, persona, greeting and the newest turn with its images. Of what came before, the oldest images
go first, then the oldest turns, and these in large steps: the point where history starts moves only once in a while, so
that the engine's prefix cache holds in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chatproxy.core.known_prompts import KnownPrompts
from chatproxy.core.ports import Tokenizer
from chatproxy.core.prompts import Prompt, PromptFormat
from chatproxy.core.types import Bot, Image, Turn
from chatproxy.errors import ContextTooLong, EngineFailure, InvalidRequest

# koboldcpp fails on a completely full context: 5 % stays free.
_USABLE = 0.95
# History is dropped in blocks of this share of the budget.
_STEP = 0.4
# How long a token is in bytes, for the length of a block (English has four), and at most, averaged over a whole window.
_BYTES_PER_TOKEN = 3.5
_MOST_BYTES_PER_TOKEN = 16
# A token is at least one byte, apart from a beginning-of-sequence token and a leading space that tokenizers add.
_ADDED_TOKENS = 2
# A prompt whose beginning is left out goes on at a line's start, if one comes within so many characters.
_LONGEST_LINE = 400


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits, with how many of the oldest turns and images had to be left out, and how long the answer may
    be."""

    prompt: Prompt
    dropped_turns: int
    max_tokens: int
    context_size: int
    dropped_images: int = 0

    @property
    def truncated(self) -> bool:
        """Whether anything had to be left out."""
        return self.dropped_turns > 0 or self.dropped_images > 0


@dataclass(frozen=True, slots=True)
class Passed:
    """A prompt that fits, the context size to use (tokens), and whether its beginning had to be left out."""

    text: str
    context_size: int
    truncated: bool


class Window:
    """Fits prompts into `context_size` tokens, or fewer where the engine itself has less."""

    def __init__(self, engines: Tokenizer, context_size: int) -> None:
        self._engine = engines
        self._configured = context_size
        self._known = KnownPrompts()

    def context_size(self) -> int:
        """Tokens of prompt and answer together."""
        return min(self._configured, self._engine.context_size() or self._configured)

    def count_tokens(self, text: str) -> int:
        """As the engine counts them."""
        return self._engine.count_tokens(text)

    def sees(self) -> bool:
        """Whether the model takes images, as far as the engine tells."""
        try:
            return self._engine.most_images() > 0
        except EngineFailure:
            return False

    def check_images(self, images: Sequence[Image]) -> None:
        """Raises InvalidRequest where the model does not take as many, EngineFailure where it cannot be asked."""
        most = self._engine.most_images() if images else 0
        if images and not most:
            raise InvalidRequest("images: this model takes no images")
        if len(images) > most:
            raise InvalidRequest(f"images: this model takes at most {most} at once")

    def learn(self, conversation: str, prompt: str, tokens: int | None) -> None:
        """The engine has told how many tokens a conversation's prompt was: its next one goes on from there."""
        if tokens is None:
            return
        try:
            self._known.note(conversation, prompt, tokens, self._engine.model())
        except EngineFailure:
            return  # the answer is there; its prompt's size alone is unknown

    def fit(
        self, prompt_format: PromptFormat, bot: Bot, turns: Sequence[Turn], begun: str = "", *, conversation: str = ""
    ) -> Fitted:
        """Write `turns` (oldest first, the last one is the question) for `bot`; `begun` is what there is of the answer.

        `conversation` is the id under which its earlier prompts were learnt.
        Raises ContextTooLong with the numbers, InvalidRequest for images that the model does not take, EngineFailure
        where tokens cannot be counted.
        """
        context = self.context_size()
        max_tokens = min(bot.max_tokens, context // 2)
        budget = int(context * _USABLE) - max_tokens
        tokens, written = 0, prompt_format.neutral(bot, begun)
        for dropped_images, kept, cuts in self._ways(turns, budget):
            low, high, found = 0, len(cuts) - 1, None
            # More text always means more tokens, so a few counts find the first cut that fits.
            while low <= high:
                middle = (low + high) // 2 if found or low else low
                prompt = prompt_format.render(bot, kept[cuts[middle] :])
                tokens = self._count(prompt.text, budget, conversation, prompt.images)
                if tokens <= budget:
                    found, high = Fitted(prompt, cuts[middle], max_tokens, context, dropped_images), middle - 1
                else:
                    low = middle + 1
            if found:
                return self._fitted(found, written)
        raise ContextTooLong(
            public=f"The message needs {tokens} tokens together with the bot's instructions, but only {budget} fit: "
            f"{context} in the model's context window, less {max_tokens} for the answer and 5 % reserve."
            f"{self._taken_by(turns[-1].images)}"
        )

    def check(
        self, memory: str, prompt: str, max_tokens: int, limit: int | None = None, images: Sequence[Image] = ()
    ) -> Passed:
        """For prompts taken as they are: `memory` is kept, and of a `prompt` behind one the beginning may be left out.

        `limit` bounds prompt and answer together, in tokens. Raises ContextTooLong where there is no memory and the
        prompt does not fit, or where not even memory and the prompt's end do; InvalidRequest as `fit` does.
        """
        self.check_images(images)
        window = self.context_size()
        context = min(window, limit or window)
        budget = min(context, int(window * _USABLE)) - max_tokens
        tokens = self._count(memory + prompt, budget, images=images)
        if tokens <= budget:
            return Passed(memory + prompt, context, False)
        if memory and budget > 0:
            # Cut at a few places only, counted from the beginning: the engine's prefix cache holds in between.
            step = max(1, int(budget * _STEP * len(memory + prompt) / tokens))
            first = -(-(tokens - budget) * len(memory + prompt) // tokens // step) * step
            for cut in range(first, len(prompt), step):
                rest = _from_next_line(prompt, cut)
                if rest and self._count(memory + rest, budget, images=images) <= budget:
                    return Passed(memory + rest, context, True)
        raise ContextTooLong(
            public=f"The prompt has {tokens} tokens and {max_tokens} are asked for, but the context window is "
            f"{context}. The oldest part would be lost without a word; shorten the prompt or ask for less."
            f"{self._taken_by(images)}"
        )

    def _fitted(self, fitted: Fitted, begun: str) -> Fitted:
        """With the part of the answer that is there already, which has had its share of the tokens."""
        if not begun:
            return fitted
        prompt = replace(fitted.prompt, text=fitted.prompt.text + begun)
        return replace(fitted, prompt=prompt, max_tokens=max(1, fitted.max_tokens - self._engine.count_tokens(begun)))

    def _ways(self, turns: Sequence[Turn], budget: int) -> Iterator[tuple[int, Sequence[Turn], list[int]]]:
        """(images left out, turns without them, how many turns may be dropped): with each image that goes, all turns
        are tried; only when none but the question's own are left do turns go too."""
        images, own = (sum(len(turn.images) for turn in some) for some in (turns, turns[-1:]))
        self.check_images(turns[-1].images if own else ())
        most = self._engine.most_images() if images else 0
        for dropped in range(max(0, images - most), images - own + 1):
            kept = _without_images(turns, dropped)
            cuts = self._cuts(kept, budget)
            yield dropped, kept, cuts if dropped == images - own else cuts[:1]

    def _taken_by(self, images: Sequence[Image]) -> str:
        if not images:
            return ""
        return f" {sum(map(self._engine.image_tokens, images))} of them are counted for the images."

    def _count(self, text: str, budget: int, conversation: str = "", images: Sequence[Image] = ()) -> int:
        """Tokens of `text` and `images`; an upper bound where that fits already, which spares the engine a question."""
        taken = sum(map(self._engine.image_tokens, images))
        budget -= taken
        bound = len(text.encode()) + _ADDED_TOKENS
        if bound > budget and conversation:
            bound = self._known.bound(conversation, text, self._engine.model()) or bound
        return taken + (bound if bound <= budget else self._engine.count_tokens(text))

    def _cuts(self, turns: Sequence[Turn], budget: int) -> list[int]:
        """How many of the oldest turns may be dropped, ascending: whole blocks, at the end all but the newest turn.

        Blocks are measured in bytes from the conversation's beginning, so the cuts stay where they are as it grows, and
        finding them asks the engine nothing. Those behind which far too much is left are not among them.
        """
        last, block = len(turns) - 1, max(1, int(budget * _STEP * _BYTES_PER_TOKEN))
        sizes = [len(turn.text.encode()) for turn in turns]
        most, left = budget * _MOST_BYTES_PER_TOKEN, sum(sizes)
        cuts = [0] if left <= most or not last else []
        passed = blocks = 0
        for dropped, size in enumerate(sizes[:last], start=1):
            passed, left = passed + size, left - size
            # What is left begins with a question: formats with strict turns know no other beginning.
            if passed >= block * (blocks + 1) and turns[dropped].role == "user":
                blocks = passed // block
                if left <= most:
                    cuts.append(dropped)
        return cuts if cuts[-1:] == [last] else [*cuts, last]


def _without_images(turns: Sequence[Turn], count: int) -> Sequence[Turn]:
    """`turns` without the oldest `count` of their images."""
    kept = []
    for turn in turns:
        gone = min(count, len(turn.images))
        count -= gone
        kept.append(replace(turn, images=turn.images[gone:]) if gone else turn)
    return kept


def _from_next_line(text: str, cut: int) -> str:
    """What stands behind the first line end after `cut`; where none comes soon, behind `cut`."""
    end = text.find("\n", cut, cut + _LONGEST_LINE)
    return text[end + 1 if end >= 0 else cut :]
