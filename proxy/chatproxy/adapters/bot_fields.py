"""What a bot's file may hold: its YAML document walked node by node, so that each mistake is named with its line.

Nothing is built from a tag that the file chooses; texts, lists and the whole file have their bounds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from typing import Any

import yaml
from yaml.reader import ReaderError

from chatproxy.core.types import Bot, Role, Rule, Turn
from chatproxy.errors import ConfigurationError

Reader = Callable[[str, yaml.Node], Any]

# In characters, and far beyond what a context window holds: they keep a wrong file from doing harm.
_LONGEST_TEXT, _LONGEST_TURN, _LONGEST_PHRASE, _LONGEST_NAME = 32_000, 8_000, 200, 60
_MOST_DIALOGUES, _MOST_TURNS, _MOST_RULES, _MOST_PHRASES = 20, 40, 100, 50
# A name is written into prompts as a role ("NAME:"), so it must be one line and no marker itself.
_NOT_IN_NAMES = ": < > | [ ] { }"
_ROLES: dict[str, Role] = {"user": "user", "bot": "assistant"}
_TEXT_TAG = "tag:yaml.org,2002:str"
_NOTHING_TAG = "tag:yaml.org,2002:null"


class _Mistake(Exception):
    """What is wrong with a part of the document."""

    def __init__(self, node: yaml.Node | None, problem: str) -> None:
        super().__init__(problem)
        self.line = node.start_mark.line + 1 if node else 1


class BotReader:
    """Reads bots. `formats` and `presets` are what the fields `format` and `sampling` may name."""

    def __init__(self, formats: Collection[str], presets: Collection[str]) -> None:
        self._fields: dict[str, Reader] = {
            "name": _name,
            "system": _text(_LONGEST_TEXT),
            "persona": _text(_LONGEST_TEXT),
            "examples": _list(_dialogue, _MOST_DIALOGUES, "dialogues"),
            "greeting": _text(_LONGEST_TURN),
            "format": _one_of("prompt format", ("auto", *sorted(formats))),
            "sampling": _one_of("sampling preset", sorted(presets)),
            "max_tokens": _whole(1, 8192),
            "max_message": _whole(1, 200_000),
            "rules": _list(_rule, _MOST_RULES, "rules"),
            "retention_days": _whole(1, 3650),
        }

    def read(self, bot_id: str, text: str) -> Bot:
        """The bot that `text` describes. Raises ConfigurationError as "line N: what is wrong"."""
        try:
            return self._bot(bot_id, yaml.compose(text, Loader=yaml.SafeLoader))
        except _Mistake as mistake:
            line, problem = mistake.line, str(mistake)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, problem = mark.line + 1 if mark else 1, error.problem or "this is not YAML"
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            problem = f"the character {text[error.position]!a} does not belong into YAML"
        except RecursionError:
            line, problem = 1, "it is nested too deeply"
        raise ConfigurationError(f"line {line}: {problem}")

    def _bot(self, bot_id: str, document: yaml.Node | None) -> Bot:
        if not isinstance(document, yaml.MappingNode):
            raise _Mistake(document, "a bot is a list of 'field: value' lines")
        given = _mapping(document, "a bot", tuple(self._fields))
        if "name" not in given:
            raise _Mistake(document, "name is missing")
        return Bot(id=bot_id, **{field: self._fields[field](field, node) for field, node in given.items()})


def _mapping(node: yaml.MappingNode, what: str, known: Collection[str]) -> dict[str, yaml.Node]:
    """The values by field. `what` says in words whose fields these are."""
    fields: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        if name not in known:
            raise _Mistake(key, f"{name[:60]!r} is not a field of {what}; fields are {', '.join(known)}")
        if name in fields:
            raise _Mistake(key, f"{name} is there twice")
        fields[name] = value
    return fields


def _list(read: Reader, most: int, plural: str) -> Reader:
    """A list of what `read` reads; `plural` is what that is called."""

    def reader(field: str, node: yaml.Node) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise _Mistake(node, f"{field} is not a list of {plural}")
        if len(node.value) > most:
            raise _Mistake(node, f"{field} has {len(node.value)} {plural}, at most {most} are allowed")
        return tuple(read(f"{field}[{place}]", item) for place, item in enumerate(node.value, start=1))

    return reader


def _text(longest: int, *, empty: bool = True) -> Reader:
    """A text without white space around it. `empty`: it may be."""

    def reader(field: str, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in (_TEXT_TAG, _NOTHING_TAG):
            in_quotes = "; write it in quotes" if isinstance(node, yaml.ScalarNode) else ""
            raise _Mistake(node, f"{field} is {_shown(node)}, not text{in_quotes}")
        text = str(node.value).strip() if node.tag == _TEXT_TAG else ""
        if not text and (node.tag == _NOTHING_TAG or not empty):
            raise _Mistake(node, f"{field} is empty")
        if len(text) > longest:
            raise _Mistake(node, f"{field} has {len(text)} characters, at most {longest} are allowed")
        # Half of a surrogate pair is no character, and a control character has no business in a prompt.
        odd = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None)
        if odd is not None:
            raise _Mistake(node, f"{field} holds the character {odd!a}")
        return text

    return reader


def _shown(node: yaml.Node) -> str:
    """A value as it stands in the file, a short one."""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)[:60]
    return "a list" if isinstance(node, yaml.SequenceNode) else "a group of fields"


def _name(field: str, node: yaml.Node) -> str:
    name: str = _text(_LONGEST_NAME, empty=False)(field, node)
    if not name.isprintable() or any(marker in name for marker in _NOT_IN_NAMES.split()):
        raise _Mistake(node, f"name is 1 to {_LONGEST_NAME} characters in one line, without {_NOT_IN_NAMES}")
    return name


def _one_of(what: str, names: Collection[str]) -> Reader:
    def reader(field: str, node: yaml.Node) -> str:
        name: str = _text(_LONGEST_TEXT)(field, node)
        if name not in names:
            raise _Mistake(node, f"there is no {what} {name[:60]!r}; known are {', '.join(names)}")
        return name

    return reader


def _whole(low: int, high: int) -> Reader:
    def reader(field: str, node: yaml.Node) -> int:
        digits = node.value if isinstance(node, yaml.ScalarNode) else ""
        if not re.fullmatch(r"[0-9]{1,9}", digits) or not low <= int(digits) <= high:
            shown = repr(_shown(node)) if digits else _shown(node)
            raise _Mistake(node, f"{field} is {shown}, not a whole number from {low} to {high}")
        return int(digits)

    return reader


def _dialogue(field: str, node: yaml.Node) -> tuple[Turn, ...]:
    turns: tuple[Turn, ...] = _list(_turn, _MOST_TURNS, "turns, as '- user: Hello'")(field, node)
    if not turns:
        raise _Mistake(node, f"{field} is empty")
    return turns


def _turn(field: str, node: yaml.Node) -> Turn:
    if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
        raise _Mistake(node, f"{field} is not one turn, as 'user: Hello' or 'bot: Hello'")
    ((speaker, said),) = _mapping(node, "a turn", tuple(_ROLES)).items()
    return Turn(_ROLES[speaker], _text(_LONGEST_TURN, empty=False)(f"{field}.{speaker}", said))


def _rule(field: str, node: yaml.Node) -> Rule:
    if not isinstance(node, yaml.MappingNode):
        raise _Mistake(node, f"{field} is not a rule, as 'when: [refund]' with 'answer: ...' below it")
    given = _mapping(node, "a rule", ("when", "answer"))
    if len(given) < 2:
        raise _Mistake(node, f"{field}.{'answer' if 'when' in given else 'when'} is missing")
    phrase = _text(_LONGEST_PHRASE, empty=False)
    phrases: tuple[str, ...] = _list(phrase, _MOST_PHRASES, "phrases")(f"{field}.when", given["when"])
    if not phrases:
        raise _Mistake(given["when"], f"{field}.when is empty, so that the rule would never answer")
    return Rule(phrases, _text(_LONGEST_TURN, empty=False)(f"{field}.answer", given["answer"]))
