"""Prompt formats: how one model family wants system text and turns written down."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os.path import commonprefix
from pathlib import Path

import jinja2

from chatproxy.core.arrangement import Order, arrange
from chatproxy.core.format_file import FormatFile, compiled, read
from chatproxy.core.images import with_marks
from chatproxy.core.models import ModelFacts
from chatproxy.core.neutral import Neutraliser, control_of
from chatproxy.core.types import Bot, Image, Turn
from chatproxy.errors import ConfigurationError

_log = logging.getLogger(__name__)

BUILT_IN = Path(__file__).resolve().parent.parent / "formats"
# The name under which the format that fits the loaded model is found, whichever it is.
AUTO = "auto"

# Characters of template text on either side of a turn that can matter: as long as any control string.
_SEAM = 128
# Texts that no template holds, so that their places in a rendered prompt can be found.
_SENTINELS = ("\ue000first question\ue001", "\ue000first answer\ue001", "\ue000second question\ue001")
_Seams = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's text, the strings that end its answer, and the images whose places the text marks."""

    text: str
    stops: tuple[str, ...]
    images: tuple[Image, ...] = ()


class PromptFormat(ABC):
    """One format, bound to every control string that may reach the tokenizer."""

    def __init__(
        self,
        name: str,
        order: Order,
        model_control: frozenset[str],
        control: Iterable[str],
        inline_markers: Iterable[str] = (),
    ) -> None:
        self.name, self._order = name, order
        self._model_control, self._control = model_control, frozenset(control)
        self._inline_markers = frozenset(inline_markers)
        self._neutraliser_for = lru_cache(maxsize=64)(self._make_neutraliser)
        self._seams: _Seams = frozenset()

    def render(self, bot: Bot, turns: Sequence[Turn]) -> Prompt:
        """Write `turns` down, neutralised, behind the bot's instructions, example dialogues and greeting.

        What comes from the bot is the operator's and is taken as it is. The last turn is what is to be answered.
        """
        neutral = self._neutraliser_for(bot.name)
        greeting = [Turn("assistant", bot.greeting)] if bot.greeting else []
        chat = [*greeting, *(Turn(turn.role, with_marks(turn.images, neutral(turn.text))) for turn in turns)]
        images = tuple(image for turn in turns for image in turn.images)
        return Prompt(self._write(bot, chat), (*self._stops(bot.name), *bot.unsaid), images)

    def beginning(self, bot: Bot) -> str:
        """What the prompts of all new conversations with `bot` begin with: all in front of what a visitor says.

        Without spaces at its end: most tokenizers make them part of the word behind them.
        """
        prompts = [self.render(bot, [Turn("user", text)]).text for text in ("0", "a")]
        return commonprefix(prompts).rstrip(" ")  # noqa: RUF071  by characters is meant

    def neutral(self, bot: Bot, text: str) -> str:
        """`text` made fit to stand in a prompt for `bot` outside a turn: an API client's system text, a title."""
        return self._neutraliser_for(bot.name)(text)

    @abstractmethod
    def _write(self, bot: Bot, chat: Sequence[Turn]) -> str: ...

    @abstractmethod
    def _stops(self, name: str) -> tuple[str, ...]: ...

    @abstractmethod
    def _line_markers(self, name: str) -> Iterable[str]: ...

    def _make_neutraliser(self, name: str) -> Neutraliser:
        markers = self._line_markers(name)
        return Neutraliser(self._model_control, self._control, markers, self._inline_markers, self._seams)

    def _find_seams(self) -> _Seams:
        """The template's text on both sides of each turn, in conversations of every shape. ValueError where the format
        leaves a turn out."""
        first, answer, second = _SENTINELS
        user, assistant, again = Turn("user", first), Turn("assistant", answer), Turn("user", second)
        seams: set[tuple[str, str]] = set()
        for system in ("", "System"):
            for chat in ([user], [user, assistant, again], [assistant, user], [user, again]):
                text = self._write(Bot("probe", "Probe", system=system), chat)
                for turn in chat:
                    before, found, after = text.partition(turn.text)
                    if not found:
                        raise ValueError("the template does not write every turn's text")
                    seams.add((before[-_SEAM:], after[:_SEAM]))
        return frozenset(seams)


class FileFormat(PromptFormat):
    """A format out of a file; see core.format_file for its fields."""

    def __init__(self, name: str, file: FormatFile, model_control: frozenset[str]) -> None:
        """Raises ConfigurationError for a template that cannot be rendered, or the name "auto"."""
        if name == AUTO:
            raise ConfigurationError(f"prompt format {file.path}: the name {AUTO!r} means something else")
        super().__init__(name, file.turns, model_control, file.control, file.inline_markers)
        try:
            self._markers = [compiled(text) for text in file.line_markers]
            self._ends = [compiled(text) for text in file.stops]
            self._template = compiled(file.template)
            self._own_persona, self._own_examples = file.names("persona"), file.names("examples")
            self._seams = self._find_seams()
            self._stops("Probe"), list(self._line_markers("Probe"))
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            raise ConfigurationError(f"prompt format {file.path}: {error}") from error

    def _write(self, bot: Bot, chat: Sequence[Turn]) -> str:
        sections = [chat] if self._own_examples else [*bot.examples, chat]
        return self._template.render(
            name=bot.name,
            system=bot.system if self._own_persona else bot.instructions,
            persona=bot.persona,
            examples=bot.examples,
            turns=arrange(sections, self._order),
        )

    def _stops(self, name: str) -> tuple[str, ...]:
        return tuple(stop.render(name=name) for stop in self._ends)

    def _line_markers(self, name: str) -> Iterable[str]:
        return (marker.render(name=name) for marker in self._markers)


class Formats:
    """Prompt formats by name: those of the package, and the operator's own, which come first.

    `model` is what the loaded model tells about itself: its control tokens are guarded against in every format.
    """

    def __init__(self, own: Path | None = None, *, model: ModelFacts | None = None, built_in: Path = BUILT_IN) -> None:
        """A broken file of the operator's is refused with its reason, in the log and when it is asked for; the others
        stay. Raises ConfigurationError where the folder itself is missing, or for a broken file of the package."""
        if own is not None and not own.is_dir():
            raise ConfigurationError(f"FORMATS_DIR: there is no folder {own}")
        self.control = control_of(model)
        self._formats: dict[str, PromptFormat] = {
            path.stem: FileFormat(path.stem, read(path), self.control) for path in sorted(built_in.glob("*.toml"))
        }
        self._refused: dict[str, str] = {}
        for path in sorted(own.glob("*.toml")) if own else ():
            try:
                self._formats[path.stem] = FileFormat(path.stem, read(path), self.control)
            except ConfigurationError as error:
                _log.error("%s; it is not offered", error)
                # Not the package's format of the same name instead: the operator meant another one.
                self._formats.pop(path.stem, None)
                self._refused[path.stem] = str(error)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._formats.keys() - {AUTO})

    def all(self) -> Mapping[str, PromptFormat]:
        """Every format but "auto", by name, in the order of names."""
        return {name: self._formats[name] for name in sorted(self.names)}

    def set_auto(self, prompt_format: PromptFormat) -> None:
        """Have `prompt_format` found as "auto", which is what bots say that take the appliance's own."""
        self._formats[AUTO] = prompt_format

    def get(self, name: str) -> PromptFormat:
        """Raises ConfigurationError for a name that is not there, listing those that are."""
        try:
            return self._formats[name]
        except KeyError:
            if name in self._refused:
                raise ConfigurationError(self._refused[name]) from None
            known = ", ".join(sorted(self.names))
            raise ConfigurationError(f"there is no prompt format {name!r}; known are: {known}") from None
