"""How long earlier prompts were, as the engine told with its answers, so that the next one need not be counted.

A conversation's next prompt begins with its last one. What comes behind that has at most as many tokens as it has
bytes; where text is joined to text, a tokenizer may cut the last word before the seam anew, which _SEAM_TOKENS allows.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

# Conversations remembered; what has been forgotten is counted again.
_MOST = 4096
_SEAM_TOKENS = 16


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A prompt of `length` characters: its hash instead of its text, and the tokens that it has for `model`."""

    length: int
    digest: int
    tokens: int
    model: str


class KnownPrompts:
    """The last prompt of each conversation. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prompts: OrderedDict[str, _Prompt] = OrderedDict()

    def note(self, conversation: str, prompt: str, tokens: int, model: str) -> None:
        """The engine has read `prompt` for `conversation` and counted `tokens`."""
        with self._lock:
            self._prompts[conversation] = _Prompt(len(prompt), hash(prompt), tokens, model)
            self._prompts.move_to_end(conversation)
            if len(self._prompts) > _MOST:
                self._prompts.popitem(last=False)

    def bound(self, conversation: str, prompt: str, model: str) -> int | None:
        """Tokens that `prompt` has at most, None where nothing is known of its beginning."""
        with self._lock:
            known = self._prompts.get(conversation)
        if known is None or known.model != model or known.digest != hash(prompt[: known.length]):
            return None
        return known.tokens + len(prompt[known.length :].encode()) + _SEAM_TOKENS
