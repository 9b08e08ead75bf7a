"""Untrusted text must stay text: it may neither become a control token nor open somebody else's turn.

Engines turn a control string such as <|im_end|> into the real control token wherever it stands in a prompt. Breaking
the string with one space leaves it readable for the model and for people, and no tokenizer takes it for the control
token any more. Formats with plain-text roles ("You:") are hijacked at a line's start just the same, so there the
marker gets a space before its last character. Only the prompt is changed; history keeps the original.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Everything that str.splitlines takes for a line's end: a model reads them alike.
_LINE_END = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


class Neutraliser:
    """Breaks `control` strings anywhere and `line_markers` at the start of a line (in any letter case)."""

    def __init__(self, control: Iterable[str], line_markers: Iterable[str] = ()) -> None:
        self._control = _control_pattern(set(control))
        self._markers = _marker_pattern(set(line_markers))

    def __call__(self, text: str) -> str:
        # koboldcpp hands the prompt to C, where a NUL ends it: everything behind would be lost without a word.
        text = text.replace("\x00", "\ufffd").replace("\r\n", "\n")
        if self._control:
            text = self._control.sub(r"\g<0> ", text)
        if self._markers:
            text = self._markers.sub(lambda found: f"{found[0][:-1]} {found[0][-1]}", text)
        return text


def _control_pattern(strings: set[str]) -> re.Pattern[str] | None:
    if not strings:
        return None
    # The lookahead leaves the rest unread, so overlapping control strings are each broken in the same pass.
    branches = (f"{re.escape(s[0])}(?={re.escape(s[1:])})" for s in sorted(strings, key=len, reverse=True))
    return re.compile("|".join(branches))


def _marker_pattern(markers: set[str]) -> re.Pattern[str] | None:
    if not markers:
        return None
    branches = "|".join(re.escape(marker) for marker in sorted(markers, key=len, reverse=True))
    return re.compile(rf"(?:\A|(?<=[{_LINE_END}]))[^\S{_LINE_END}]*(?:{branches})", re.IGNORECASE)
