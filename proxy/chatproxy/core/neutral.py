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


# Control tokens of the model families in use, whatever format a bot picks: the loaded model knows its own. From the
# vocabularies of SmolLM2, Llama 1 to 3, Zephyr, Gemma, Phi-3, Command R, DeepSeek and Qwen.
KNOWN_CONTROL = frozenset(
    (  # noqa: SIM905 - quoted one by one they would be hard to read
        "<s> </s> <unk> <pad> <bos> <eos> <|endoftext|> <|startoftext|> "
        "<repo_name> <reponame> <file_sep> <filename> <gh_stars> <issue_start> <issue_comment> <issue_closed> "
        "<jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output> <jupyter_script> <empty_output> "
        "<|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> <|python_tag|> "
        "<|system|> <|user|> <|assistant|> <|model|> <|end|> <|im_start|> <|im_end|> "
        "<start_of_turn> <end_of_turn> <start_of_image> <end_of_image> "
        "<|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> <|SYSTEM_TOKEN|> <|USER_TOKEN|> <|CHATBOT_TOKEN|> "
        "<BOS_TOKEN> <EOS_TOKEN> <|object_ref_start|> <|box_start|> <|vision_start|> <|vision_end|> "
        "<tool_call> </tool_call> <｜User｜> <｜Assistant｜> <｜begin▁of▁sentence｜> <｜end▁of▁sentence｜>"
    ).split()
)


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
