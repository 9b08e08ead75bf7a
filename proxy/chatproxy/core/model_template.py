"""PROMPT_FORMAT=auto: the prompt format out of what the loaded model tells about itself.

A probe conversation is rendered with the model's own chat template and with each known format. Where one of them writes
the same (a beginning-of-sequence token and white space around it aside) that format it is; else the model's template is
used as it stands.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chatproxy.core.arrangement import Order, arrange
from chatproxy.core.chat_template import ChatTemplate, TemplateFailed, probe
from chatproxy.core.models import ModelFacts
from chatproxy.core.neutral import control_of, looks_like_control
from chatproxy.core.prompts import AUTO, Formats, PromptFormat
from chatproxy.core.types import Bot, Turn
from chatproxy.errors import ChatProxyError, ConfigurationError

_log = logging.getLogger(__name__)

_SYSTEM = "You answer in plain words."
_FIRST, _ANSWER, _SECOND = Turn("user", "First question?"), Turn("assistant", "First answer."), Turn("user", "Then?")
_CHAT = (_FIRST, _ANSWER, _SECOND)
# What strict templates refuse: an opening greeting, and two user turns in a row.
_LOOSE = (_ANSWER, _FIRST, _SECOND)
# A shorter piece of text between two turns is no role marker but punctuation.
_SHORTEST_OPENER = 3


def decide(formats: Formats, model: ModelFacts | None, name: str) -> PromptFormat:
    """The format for `model`, which people know as `name`.

    Raises ConfigurationError, naming the model and the formats to choose from, where it cannot be told.
    """
    try:
        probes = _Probes(model or ModelFacts())
        known = probes.known(formats)
        if known:
            _log.info("the model %s speaks the prompt format %s", name, known.name)
            return known
        derived = TemplateFormat(probes)
        _log.info("the model %s is spoken to with its own chat template; stops are %s", name, derived.ends)
    except TemplateFailed as failure:
        raise ConfigurationError(
            f"PROMPT_FORMAT=auto cannot decide for the model {name!r}: {failure}; "
            f"set PROMPT_FORMAT to one of: {', '.join(sorted(formats.names))} (the model's card says which)"
        ) from None
    return derived


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a template wants to be fed."""

    system: bool
    order: Order
    # What opens the assistant's turn, where the template itself does not write it.
    opener: str


class _Probes:
    """The probe conversations, rendered by the model's template in a child process."""

    def __init__(self, model: ModelFacts) -> None:
        """Raises TemplateFailed where there is no template, or one that hangs, does not compile or renders nothing."""
        if not model.chat_template:
            raise TemplateFailed("nothing tells its chat template")
        self.model = model
        cases = {
            (system, chat, opened): (_messages(_SYSTEM if system else "", chat), opened)
            for system in (True, False)
            for chat in (_CHAT, _LOOSE, (_FIRST,))
            for opened in (True, False)
        }
        rendered = probe(model.chat_template, list(cases.values()), bos=model.bos, eos=model.eos)
        self._text = {
            case: without_bos(text, model) for case, text in zip(cases, rendered, strict=True) if text is not None
        }
        self._system = _in_order(self._text.get((True, _CHAT, True)), [_SYSTEM, *(turn.text for turn in _CHAT)])
        if not self._system and not _in_order(self._text.get((False, _CHAT, True)), [turn.text for turn in _CHAT]):
            raise TemplateFailed("its chat template does not write an ordinary conversation")

    @property
    def conversation(self) -> str:
        return self._text[self._system, _CHAT, True]

    def known(self, formats: Formats) -> PromptFormat | None:
        """The format that writes the same."""
        bot = Bot("probe", "Assistant", system=_SYSTEM if self._system else "")
        for known in formats.all().values():
            if known.render(bot, _CHAT).text.strip() == self.conversation.strip():
                return known
        return None

    def shape(self) -> _Shape:
        loose = _in_order(self._text.get((self._system, _LOOSE, True)), [turn.text for turn in _LOOSE])
        return _Shape(self._system, "any" if loose else "alternating", self._missing_opener())

    def between(self, before: Turn, after: Turn) -> str:
        """The template's own text between two turns."""
        return self.conversation.partition(before.text)[2].partition(after.text)[0]

    def _missing_opener(self) -> str:
        opened = self._text.get((self._system, (_FIRST,), True), "")
        if opened != self._text.get((self._system, (_FIRST,), False), ""):
            return ""
        written = opened.partition(_FIRST.text)[2]
        between = self.between(_FIRST, _ANSWER)
        rest = between[len(written) :] if between.startswith(written) else ""
        return rest if rest.strip() else ""


class TemplateFormat(PromptFormat):
    """A model's own chat template as a prompt format. What the template has no place for (a system text, an order of
    turns) is brought into a form that it takes."""

    def __init__(self, probes: _Probes) -> None:
        """Raises TemplateFailed where the template fails outside the probe."""
        model = self._model = probes.model
        self._shape = probes.shape()
        self._template = ChatTemplate(model.chat_template, bos=model.bos, eos=model.eos)
        control = control_of(model)
        # Role markers that are no tokens of the vocabulary are plain text to the tokenizer, but the model knows them.
        written = filter(looks_like_control, re.findall(r"<[^<>\s]+>|\[[^\[\]\s]+\]", probes.conversation))
        markers = control | frozenset(written)
        seams = (probes.between(_ANSWER, _SECOND), probes.between(_FIRST, _ANSWER))
        self.ends = tuple(dict.fromkeys(_ends(seams[0], model, markers)))
        plain = [opener for opener in (_plain_opener(_behind(markers, seam)) for seam in seams) if opener]
        self._markers = tuple(opener.strip() for opener in plain)
        inline = [opener for opener in plain if not opener.startswith("\n")]
        super().__init__(AUTO, self._shape.order, control, markers, inline)
        try:
            self._seams = self._find_seams()
        except (ValueError, ChatProxyError) as error:
            raise TemplateFailed(str(error)) from error

    def _write(self, bot: Bot, chat: Sequence[Turn]) -> str:
        turns = arrange([*bot.examples, chat], self._shape.order)
        system = bot.instructions
        if system and not self._shape.system:
            first = turns[0] if turns and turns[0].role == "user" else Turn("user", "")
            merged = Turn("user", f"{system}\n\n{first.text}".strip())
            turns, system = [merged, *(turns[1:] if turns and turns[0].role == "user" else turns)], ""
        try:
            text = self._template.render(_messages(system, turns))
        except TemplateFailed as failure:
            raise ChatProxyError(f"the model's chat template failed: {failure}") from failure
        return without_bos(text, self._model) + self._shape.opener

    def _stops(self, name: str) -> tuple[str, ...]:
        return self.ends

    def _line_markers(self, name: str) -> Iterable[str]:
        return self._markers


def without_bos(text: str, model: ModelFacts) -> str:
    """The text without beginning-of-sequence tokens in front, where the engine writes one itself.

    SmolLM2's is <|im_start|>, which opens turns, and the engine is told to add none: there it has to stay.
    """
    added = model.adds_bos if model.adds_bos is not None else "bos_token" in model.chat_template
    while added and model.bos and text.startswith(model.bos):
        text = text.removeprefix(model.bos)
    return text


def _messages(system: str, turns: Iterable[Turn]) -> list[Mapping[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *({"role": turn.role, "content": turn.text} for turn in turns)]


def _in_order(text: str | None, parts: Iterable[str]) -> bool:
    """Whether all parts stand in the text, one behind the other."""
    place = 0 if text is not None else -1
    for part in parts:
        if text is None or place < 0:
            return False
        found = text.find(part, place)
        place = found + len(part) if found >= 0 else -1
    return place >= 0


def _ends(after_answer: str, model: ModelFacts, markers: frozenset[str]) -> Iterator[str]:
    """What ends an answer: the end of sequence, the control strings behind an assistant's turn (two at most: its end
    and the next turn's opening), or in their place the plain text that opens the next user turn."""
    if model.eos:
        yield model.eos
    rest, found = after_answer, 0
    by_length = sorted(markers, key=len, reverse=True)
    while found < 2 and (token := next((t for t in by_length if rest.lstrip().startswith(t)), None)):
        rest = rest.lstrip().removeprefix(token)
        # Llama 2 begins each exchange anew: what ends the answer stands in front of that, what opens a turn behind it.
        if token != model.bos or not found or not rest.strip():
            yield token
            found += 1
    opener = _plain_opener(rest) if found < 2 else ""
    if opener:
        yield opener


def _behind(markers: frozenset[str], seam: str) -> str:
    return seam[max((seam.rfind(marker) + len(marker) for marker in markers if marker in seam), default=0) :]


def _plain_opener(text: str) -> str:
    """The role marker that a template's text between two turns ends with, where it is plain text ("USER:"): with a line
    break in front where it stands at a line's start. A bare word, as ChatML's "user" behind a token, is none."""
    line = text.strip().rpartition("\n")[2].strip()
    if len(line) < _SHORTEST_OPENER or line[-1].isalnum() or looks_like_control(line):
        return ""
    return f"\n{line}" if "\n" in text.rstrip() else line
