"""What is odd about a bot although its file is good: things that its owner has hardly meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from chatproxy.core.types import Bot


def remarks(bot: Bot, filled: Collection[str], context_size: int) -> Iterator[str]:
    """In sentences. `filled` are the collections that hold something, `context_size` the window in tokens."""
    if bot.mode == "sources-only" and not bot.knowledge:
        yield "mode is sources-only, but knowledge names no collection: it answers as if it were chat."
    for name in bot.knowledge:
        if name not in filled:
            yield f"knowledge names the collection {name!r}, which holds nothing yet: add a source to it."
    if bot.max_tokens * 2 > context_size:
        yield (
            f"max_tokens is {bot.max_tokens} of a context window of {context_size} tokens: little is left for "
            "instructions, passages and the conversation."
        )
    if not bot.instructions:
        yield "There is neither system nor persona: the model answers without any instructions."
