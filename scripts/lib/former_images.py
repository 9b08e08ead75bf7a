"""Images that were built here and have been replaced since: what builds leave behind, and nothing of anybody else.

Each stays for one more change: going back to the version before needs no build. So there are two of each at most.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.lib import docker_daemon, log, paths

_FILE = paths.STAMPS / "former-images.json"


class Former:
    """The ids of images: `before`, what the last change has replaced, and `older`."""

    def __init__(self, path: Path = _FILE) -> None:
        self._path = path
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            self.replaced, self.before, self.older = (list(map(str, known[name])) for name in self._names)
        except (OSError, ValueError, KeyError, TypeError):
            self.replaced, self.before, self.older = [], [], []

    _names = ("replaced", "before", "older")

    def add(self, image: str) -> None:
        """It has just been replaced by another of its name."""
        if image and image not in self.replaced:
            self.replaced.append(image)
            self._write()

    def add_old(self, images: Iterable[str]) -> None:
        """They were built in vain: nothing will lead back to them, so the next `remove` takes them away."""
        new = sorted(set(images) - self.ids())
        if new:
            self.older += new
            self._write()

    def ids(self) -> set[str]:
        """All that are known here, also those that are gone meanwhile."""
        return {*self.replaced, *self.before, *self.older}

    def settle(self) -> None:
        """The appliance is well with what was built: what this replaces is the way back now, and the one before old."""
        if self.replaced:
            self.older += self.before
            self.before, self.replaced = self.replaced, []
            self._write()

    def remove(self, *, all_of_them: bool = False) -> tuple[int, int]:
        """Removes what is old, or `all_of_them`; how many went, and their bytes (layers that others share included)."""
        count = freed = 0
        for names in (self.older, self.before, self.replaced) if all_of_them else (self.older,):
            for image in list(names):
                size = _unused(image)
                if size is not None and docker_daemon.ask("image", "rm", image)[0] == 0:
                    count, freed = count + 1, freed + size
                if _gone_or_named(image):
                    names.remove(image)
        self._write()
        return count, freed

    def sizes(self) -> Sequence[int]:
        """Bytes of each that could be removed now."""
        known = (_unused(image) for image in (*self.older, *self.before, *self.replaced))
        return [size for size in known if size is not None]

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".part")
        draft.write_text(json.dumps({name: getattr(self, name) for name in self._names}, indent=1), encoding="utf-8")
        draft.replace(self._path)


def tidy() -> None:
    """At the end of a `make up` after which everything is well."""
    Former().settle()
    remove_old("an earlier version")


def remove_old(version: str) -> None:
    """Away with what nothing leads back to any more; `version` is how a person calls what most of it was built for."""
    count, freed = Former().remove()
    if count:
        log.ok(f"{count} images of {version} removed ({log.size(freed)} at most)")


def _inspected(image: str) -> tuple[list[str], int] | None:
    """Names and bytes; None where Docker has no such image."""
    status, out, _ = docker_daemon.ask("image", "inspect", "--format", "{{json .RepoTags}} {{.Size}}", image)
    if status != 0:
        return None
    names, size = out.rsplit(maxsplit=1)
    return json.loads(names) or [], int(size)


def _unused(image: str) -> int | None:
    """Its bytes; None for one that is gone, or has a name again: a build out of the cache gives the same image back.

    One that a container still uses is refused by Docker itself.
    """
    found = _inspected(image)
    return found[1] if found and not found[0] else None


def _gone_or_named(image: str) -> bool:
    found = _inspected(image)
    return found is None or bool(found[0])
