"""A small deterministic tokenizer with the properties that clients of a real one depend on."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

BOS_ID = 1

#: The control strings of the formats that the tests use. A real vocabulary has its own list; what matters is that
#: each becomes one id wherever it stands in a text, also in text that a user typed.
DEFAULT_CONTROL_TOKENS = (
    "<s>",
    "</s>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|system|>",
    "<|user|>",
    "<|model|>",
)
_FIRST_CONTROL_ID = 2
_FIRST_TEXT_ID = 1_000
_TEXT_IDS = 30_000
_PIECE = r"\s?\w{1,6}|\s|[^\w\s]"


class Tokenizer:
    """Cuts text into control strings, word pieces of at most six letters, white space and marks.

    Args:
        control_tokens: strings that become one control id each; ids count up from 2 in this order.
    """

    def __init__(self, control_tokens: Sequence[str] = DEFAULT_CONTROL_TOKENS) -> None:
        self.control_ids = {text: _FIRST_CONTROL_ID + n for n, text in enumerate(control_tokens)}
        longest_first = sorted(control_tokens, key=len, reverse=True)
        self._pieces = re.compile("|".join([*map(re.escape, longest_first), _PIECE]))

    def pieces(self, text: str) -> list[str]:
        """The text's tokens as text; joined they give the text again."""
        return self._pieces.findall(text)

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """The text's token ids, with BOS in front unless `bos` is false."""
        return ([BOS_ID] if bos else []) + [self._id(piece) for piece in self.pieces(text)]

    def _id(self, piece: str) -> int:
        control = self.control_ids.get(piece)
        return control if control is not None else _FIRST_TEXT_ID + zlib.crc32(piece.encode()) % _TEXT_IDS
