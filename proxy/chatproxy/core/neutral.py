"""Untrusted text must stay text: it may neither become a control token nor open somebody else's turn.

Engines turn a control string such as <|im_end|> into the real control token wherever it stands in a prompt. Breaking
the string with one space leaves it readable for the model and for people, and no tokenizer takes it for the control
token any more. Formats with plain-text roles ("You:") are hijacked just the same, so there the marker gets a space
before its last character. Only the prompt is changed; history keeps the original.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from chatproxy.core.models import ModelFacts

# Everything that str.splitlines takes for a line's end: a model reads them alike.
_LINE_END = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"

# Characters that nobody sees: all of Unicode's categories Cf and Cc but line ends and the tab, and what else is drawn
# as nothing (Default_Ignorable_Code_Point, the empty Braille pattern). A marker with some of them in it reads the same.
INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)

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
        # The places of images: ours (core.types.IMAGE_MARK, which is llama.cpp's too), LLaVA's and those of koboldcpp.
        "<__media__> <__image__> <image> </image> <|image_pad|> "
        "<tool_call> </tool_call> <｜User｜> <｜Assistant｜> <｜begin▁of▁sentence｜> <｜end▁of▁sentence｜>"
    ).split()
)
# Those that are HTML as well (struck-out text): not guarded against where the model's own list says that it has none.
_HTML = frozenset({"<s>", "</s>"})

_TAG_SHAPE = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
# <|name|>, full-width bars, two words in one tag, <unused7>, [INST]: no tag of HTML looks like any of them.
_CONTROL_SHAPE = re.compile(r"<[|｜].*[|｜]>|</?[A-Za-z]+(_[A-Za-z0-9]+)+>|<unused\d+>|\[/?[A-Z][A-Z_]+\]")
# A longer control string is recognised by its first characters; this bounds the pattern's depth.
_LONGEST = 64


def control_of(model: ModelFacts | None) -> frozenset[str]:
    """The strings that a model takes for control tokens; for None, those of all families in use.

    Control tokens (type 3) all count. User-defined ones (type 4) are often plain text, Gemma's HTML tags above all:
    they count where they look like a control marker, or where the model's own chat template writes them.
    """
    if model is None or not (model.control or model.user_defined):
        return KNOWN_CONTROL
    own = {text for text in model.control if len(text) > 1}  # a single character cannot be broken
    own.update(
        text
        for text in model.user_defined
        if _CONTROL_SHAPE.fullmatch(text) or (_TAG_SHAPE.fullmatch(text) and text in model.chat_template)
    )
    return frozenset(own | (KNOWN_CONTROL - _HTML))


def looks_like_control(text: str) -> bool:
    """Whether a string has the shape of a control token."""
    return bool(_CONTROL_SHAPE.fullmatch(text))


# Looking back keeps it linear: a long run is tried once, at its beginning.
_CARRIAGE_RETURNS = re.compile(r"(?<!\r)\r+\n")


class Neutraliser:
    """Breaks control strings anywhere, `line_markers` at the start of a line in any letter case, `inline_markers`
    anywhere as they are written; markers and the format's own strings also with invisible characters inside.

    `model_control` are the model's control strings, the same for every format and so compiled once; `control` are the
    format's own. `seams` are the pairs of template text (before, after) that untrusted text is put between: nothing may
    form across them either. What has been neutralised stays as it is when it is neutralised again.
    """

    def __init__(
        self,
        model_control: frozenset[str],
        control: Iterable[str] = (),
        line_markers: Iterable[str] = (),
        inline_markers: Iterable[str] = (),
        seams: Iterable[tuple[str, str]] = (),
    ) -> None:
        own, inline = frozenset(control) - model_control, frozenset(inline_markers)
        # The lookahead leaves the rest unread, so overlapping control strings are each broken in the same pass.
        self._patterns: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = []
        if model_control:
            self._patterns.append((_any_of(model_control), lambda found: f"{found[0]} "))
        if own:  # [INST] is plain text to Llama 2's tokenizer: it reads the same with hidden characters in it
            branches = "|".join(f"{re.escape(s[0])}(?=[{INVISIBLE}]*{_spread(s[1:])})" for s in sorted(own))
            self._patterns.append((re.compile(branches), lambda found: f"{found[0]} "))
        # One class, not two that share a character: a run of that would be split up in exponentially many ways.
        at_line = rf"(?:\A|(?<=[{_LINE_END}]))(?:(?![{_LINE_END}])[\s{INVISIBLE}])*"
        for markers, before, flags in ((set(line_markers), at_line, re.IGNORECASE), (inline, "", 0)):
            if branches := "|".join(_spread(marker) for marker in sorted(markers, key=len, reverse=True)):
                pattern = re.compile(f"{before}(?:{branches})", flags)
                self._patterns.append((pattern, lambda found: f"{found[0][:-1]} {found[0][-1]}"))
        self._heads, self._tails = _across(model_control | own | inline, frozenset(seams))

    def __call__(self, text: str) -> str:
        # koboldcpp hands the prompt to C, where a NUL ends it: everything behind would be lost without a word.
        text = _CARRIAGE_RETURNS.sub("\n", text.replace("\x00", "\ufffd"))
        before = None
        while before != text:  # a space could complete a control string that holds one
            before = text
            for pattern, broken in self._patterns:
                text = pattern.sub(broken, text)
        if text.startswith(self._heads):
            text = f" {text}"
        return f"{text} " if text.endswith(self._tails) else text


@lru_cache(maxsize=64)
def _any_of(strings: frozenset[str]) -> re.Pattern[str]:
    """A pattern for the first character of any of `strings`, read as a tree: a vocabulary may hold thousands, and text
    made of nothing but "<" must not try each of them at every place."""
    by_first: dict[str, set[str]] = {}
    for string in strings:
        by_first.setdefault(string[0], set()).add(string[1:_LONGEST])
    return re.compile("|".join(f"{re.escape(first)}(?={_tree(rests)})" for first, rests in sorted(by_first.items())))


def _tree(strings: set[str]) -> str:
    if "" in strings:  # one of them ends here: whatever the longer ones hold, the place is found
        return ""
    by_first: dict[str, set[str]] = {}
    for string in strings:
        by_first.setdefault(string[0], set()).add(string[1:])
    branches = [re.escape(first) + _tree(rests) for first, rests in sorted(by_first.items())]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _spread(marker: str) -> str:
    """The marker with any invisible characters between its own."""
    return f"[{INVISIBLE}]*".join(re.escape(character) for character in marker)


@lru_cache(maxsize=64)
def _across(strings: frozenset[str], seams: frozenset[tuple[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The beginnings and ends of a text that would complete a control string with the template's text around it."""
    heads, tails = set(), set()
    befores, afters = {before for before, _ in seams}, {after for _, after in seams}
    # What a template's text ends or begins with, so that a vocabulary of thousands is gone through only once.
    ends = {before[-length:] for before in befores for length in range(1, len(before) + 1)}
    begins = {after[:length] for after in afters for length in range(1, len(after) + 1)}
    for string in strings:
        for cut in range(1, len(string)):
            if string[:cut] in ends:
                heads.add(string[cut:])
                heads.update(string[cut:end] for end in range(cut + 1, len(string)) if string[end:] in begins)
            if string[cut:] in begins:
                tails.add(string[:cut])
    return tuple(sorted(heads)), tuple(sorted(tails))
