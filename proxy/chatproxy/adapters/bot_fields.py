"""What a bot's file may hold: its YAML document walked node by node, so that each mistake is named with its line."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import yaml
from yaml.reader import ReaderError

from chatproxy.adapters import bot_window
from chatproxy.adapters.yaml_nodes import Mistake, Reader, list_of, mapping, one_of, text_up_to, whole
from chatproxy.core.passages import COLLECTION
from chatproxy.core.types import Bot, Role, Rule, Turn
from chatproxy.errors import ConfigurationError

# In characters, and far beyond what a context window holds: they keep a wrong file from doing harm.
_LONGEST_TEXT, _LONGEST_TURN, _LONGEST_PHRASE, _LONGEST_NAME, _LONGEST_COLLECTION = 32_000, 8_000, 200, 60, 64
_MOST_DIALOGUES, _MOST_TURNS, _MOST_RULES, _MOST_PHRASES, _MOST_COLLECTIONS = 20, 40, 100, 50, 20
_MOST_UNSAID = 20
# A name is written into prompts as a role ("NAME:"), so it must be one line and no marker itself.
_NOT_IN_NAMES = ": < > | [ ] { }"
_ROLES: dict[str, Role] = {"user": "user", "bot": "assistant"}


class BotMistakes(ConfigurationError):
    """All that is wrong with a file, as lines (from 1) and reasons; one for each field at most."""

    def __init__(self, mistakes: Sequence[tuple[int, str]]) -> None:
        line, problem = mistakes[0]
        super().__init__(f"line {line}: {problem}")
        self.mistakes = tuple(mistakes)


class BotReader:
    """Reads bots. `formats` and `presets` are what the fields `format` and `sampling` may name."""

    def __init__(self, formats: Collection[str], presets: Collection[str]) -> None:
        self._fields: dict[str, Reader] = {
            "name": _name,
            "system": text_up_to(_LONGEST_TEXT),
            "persona": text_up_to(_LONGEST_TEXT),
            "examples": list_of(_dialogue, _MOST_DIALOGUES, "dialogues"),
            "greeting": text_up_to(_LONGEST_TURN),
            "format": one_of("prompt format", ("auto", *sorted(formats))),
            "sampling": one_of("sampling preset", sorted(presets)),
            "max_tokens": whole(1, 8192),
            "max_message": whole(1, 200_000),
            "rules": list_of(_rule, _MOST_RULES, "rules"),
            "retention_days": whole(1, 3650),
            "knowledge": list_of(_collection, _MOST_COLLECTIONS, "collections"),
            "mode": one_of("mode", ("chat", "sources-only")),
            "refusal": text_up_to(_LONGEST_TURN, empty=False),
            "never_say": list_of(text_up_to(_LONGEST_PHRASE, empty=False), _MOST_UNSAID, "phrases"),
            **bot_window.FIELDS,
        }

    def read(self, bot_id: str, text: str) -> Bot:
        """The bot that `text` describes. Raises BotMistakes, the first of them in its text."""
        try:
            return self._bot(bot_id, yaml.compose(text, Loader=yaml.SafeLoader))
        except Mistake as mistake:
            line, problem = mistake.line, str(mistake)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, problem = mark.line + 1 if mark else 1, error.problem or "this is not YAML"
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            problem = f"the character {text[error.position]!a} does not belong into YAML"
        except RecursionError:
            line, problem = 1, "it is nested too deeply"
        raise BotMistakes([(line, problem)])

    def _bot(self, bot_id: str, document: yaml.Node | None) -> Bot:
        if not isinstance(document, yaml.MappingNode):
            raise Mistake(document, "a bot is a list of 'field: value' lines")
        given = mapping(document, "a bot", tuple(self._fields))
        values, mistakes = {}, []
        if "name" not in given:
            mistakes.append(Mistake(document, "name is missing"))
        for field, node in given.items():
            try:
                values[field] = self._fields[field](field, node)
            except Mistake as mistake:
                mistakes.append(mistake)
        if mistakes:
            raise BotMistakes([(mistake.line, str(mistake)) for mistake in mistakes])
        return Bot(id=bot_id, **values)


def _name(field: str, node: yaml.Node) -> str:
    name: str = text_up_to(_LONGEST_NAME, empty=False)(field, node)
    if not name.isprintable() or any(marker in name for marker in _NOT_IN_NAMES.split()):
        raise Mistake(node, f"name is 1 to {_LONGEST_NAME} characters in one line, without {_NOT_IN_NAMES}")
    return name


def _collection(field: str, node: yaml.Node) -> str:
    name: str = text_up_to(_LONGEST_COLLECTION, empty=False)(field, node)
    if not COLLECTION.fullmatch(name):
        raise Mistake(node, f"{field} is {name!r}; a collection's name is lower-case letters, digits, '-' and '_'")
    return name


def _dialogue(field: str, node: yaml.Node) -> tuple[Turn, ...]:
    turns: tuple[Turn, ...] = list_of(_turn, _MOST_TURNS, "turns, as '- user: Hello'")(field, node)
    if not turns:
        raise Mistake(node, f"{field} is empty")
    return turns


def _turn(field: str, node: yaml.Node) -> Turn:
    if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
        raise Mistake(node, f"{field} is not one turn, as 'user: Hello' or 'bot: Hello'")
    ((speaker, said),) = mapping(node, "a turn", tuple(_ROLES)).items()
    return Turn(_ROLES[speaker], text_up_to(_LONGEST_TURN, empty=False)(f"{field}.{speaker}", said))


def _rule(field: str, node: yaml.Node) -> Rule:
    if not isinstance(node, yaml.MappingNode):
        raise Mistake(node, f"{field} is not a rule, as 'when: [refund]' with 'answer: ...' below it")
    given = mapping(node, "a rule", ("when", "answer"))
    if len(given) < 2:
        raise Mistake(node, f"{field}.{'answer' if 'when' in given else 'when'} is missing")
    phrase = text_up_to(_LONGEST_PHRASE, empty=False)
    phrases: tuple[str, ...] = list_of(phrase, _MOST_PHRASES, "phrases")(f"{field}.when", given["when"])
    if not phrases:
        raise Mistake(given["when"], f"{field}.when is empty, so that the rule would never answer")
    return Rule(phrases, text_up_to(_LONGEST_TURN, empty=False)(f"{field}.answer", given["answer"]))
