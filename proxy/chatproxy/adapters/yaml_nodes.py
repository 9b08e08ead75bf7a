"""A YAML document's nodes read into values; a part that is wrong is named with its line.

Nothing is built from a tag that the file chooses; texts and lists have their bounds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from typing import Any

import yaml

# Given what the value is called in words, as "rules[2].when".
Reader = Callable[[str, yaml.Node], Any]

_LONGEST_NAME = 200  # characters
_TEXT_TAG = "tag:yaml.org,2002:str"
_NOTHING_TAG = "tag:yaml.org,2002:null"


class Mistake(Exception):
    """What is wrong with a part of the document."""

    def __init__(self, node: yaml.Node | None, problem: str) -> None:
        super().__init__(problem)
        self.line = node.start_mark.line + 1 if node else 1


def mapping(node: yaml.MappingNode, what: str, known: Collection[str]) -> dict[str, yaml.Node]:
    """The values by field. `what` says in words whose fields these are."""
    fields: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        if name not in known:
            raise Mistake(key, f"{name[:60]!r} is not a field of {what}; fields are {', '.join(known)}")
        if name in fields:
            raise Mistake(key, f"{name} is there twice")
        fields[name] = value
    return fields


def list_of(read: Reader, most: int, plural: str) -> Reader:
    """A list of what `read` reads; `plural` is what that is called."""

    def reader(field: str, node: yaml.Node) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise Mistake(node, f"{field} is not a list of {plural}")
        if len(node.value) > most:
            raise Mistake(node, f"{field} has {len(node.value)} {plural}, at most {most} are allowed")
        return tuple(read(f"{field}[{place}]", item) for place, item in enumerate(node.value, start=1))

    return reader


def text_up_to(longest: int, *, empty: bool = True) -> Reader:
    """A text without white space around it. `empty`: it may be."""

    def reader(field: str, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in (_TEXT_TAG, _NOTHING_TAG):
            in_quotes = "; write it in quotes" if isinstance(node, yaml.ScalarNode) else ""
            raise Mistake(node, f"{field} is {_shown(node)}, not text{in_quotes}")
        text = str(node.value).strip() if node.tag == _TEXT_TAG else ""
        if not text and (node.tag == _NOTHING_TAG or not empty):
            raise Mistake(node, f"{field} is empty")
        if len(text) > longest:
            raise Mistake(node, f"{field} has {len(text)} characters, at most {longest} are allowed")
        # Half of a surrogate pair is no character, and a control character has no business in a prompt.
        odd = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None)
        if odd is not None:
            raise Mistake(node, f"{field} holds the character {odd!a}")
        return text

    return reader


def _shown(node: yaml.Node) -> str:
    """A value as it stands in the file, a short one."""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)[:60]
    return "a list" if isinstance(node, yaml.SequenceNode) else "a group of fields"


def one_of(what: str, names: Collection[str]) -> Reader:
    """One of these texts; `what` says in words what they are."""

    def reader(field: str, node: yaml.Node) -> str:
        name: str = text_up_to(_LONGEST_NAME)(field, node)
        if name not in names:
            raise Mistake(node, f"there is no {what} {name[:60]!r}; known are {', '.join(names)}")
        return name

    return reader


def whole(low: int, high: int) -> Reader:
    """A whole number within bounds."""

    def reader(field: str, node: yaml.Node) -> int:
        digits = node.value if isinstance(node, yaml.ScalarNode) else ""
        if not re.fullmatch(r"[0-9]{1,9}", digits) or not low <= int(digits) <= high:
            shown = repr(_shown(node)) if digits else _shown(node)
            raise Mistake(node, f"{field} is {shown}, not a whole number from {low} to {high}")
        return int(digits)

    return reader
