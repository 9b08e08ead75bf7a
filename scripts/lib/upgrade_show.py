"""What a newer version changes, told before anything is changed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from scripts.lib import dotenv, paths
from scripts.lib.upgrade_git import Repository, Version

_TITLES = 15
_EXAMPLE = paths.ENV_EXAMPLE.name
_MIGRATIONS = "proxy/chatproxy/adapters/mongo_migrations.py"


def lines(repository: Repository, old: Version, new: Version) -> Iterator[str]:
    """For a person to read, the most important last, where it is still on the screen."""
    titles = repository.titles(old, new)
    yield f"from {old}"
    yield f"to   {new}"
    yield f"{len(titles)} changes:"
    yield from (f"  - {title}" for title in titles[:_TITLES])
    if len(titles) > _TITLES:
        yield f"  - and {len(titles) - _TITLES} more: git log --no-merges {old.commit[:10]}..{new.commit[:10]}"
    yield from _settings(repository.file(old, _EXAMPLE), repository.file(new, _EXAMPLE))
    yield from _migrations(repository.file(old, _MIGRATIONS), repository.file(new, _MIGRATIONS))
    yield from _edits(repository.edited(), set(repository.changed(old, new)))


def _settings(old: str, new: str) -> Iterator[str]:
    before, after = dotenv.parse(old), dotenv.parse(new)
    for name in sorted(after.keys() - before.keys()):
        yield f"new setting: {name}={after[name]}"
    for name in sorted(before.keys() - after.keys()):
        yield f"no setting any more: {name}"
    for name in sorted(name for name in before.keys() & after.keys() if before[name] != after[name]):
        yield f"another default: {name}={after[name]} (was {before[name] or 'empty'}); what .env says stays"


def _migrations(old: str, new: str) -> Iterator[str]:
    before, after = schema(old), schema(new)
    if before and after and before != after:
        yield f"the data goes from schema {before} to {after}; a copy of it, until the new version has answered"


def schema(source: str) -> int:
    """The schema's version that the text of the migrations leads to; 0 where that cannot be told."""
    try:
        assigned = [each for each in ast.parse(source).body if isinstance(each, (ast.Assign, ast.AnnAssign))]
    except SyntaxError:
        return 0
    for each in assigned:
        target = each.targets[0] if isinstance(each, ast.Assign) else each.target
        if isinstance(target, ast.Name) and target.id == "MIGRATIONS" and isinstance(each.value, ast.Tuple):
            return len(each.value.elts)
    return 0


def _edits(edited: Sequence[str], changed: set[str]) -> Iterator[str]:
    for name in edited:
        yield f"edited by you, and kept: {name}" + (" (changed by the new version too)" if name in changed else "")
