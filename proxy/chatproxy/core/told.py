"""data.json, read back: all that core/loading.py and core/comparing.py look for in it is there, and of its kind.

An archive is whole where its sums are right, which says nothing of who wrote it: a version of this program that told
less of its data is found out here, before anything is done, and by the name of what is not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chatproxy.core.carried import FORMAT, Refused

_ANOTHER = "restore another archive; this one was changed, or broke off when it was written"


def broken(fact: str) -> Refused:
    """An archive that cannot be brought back."""
    return Refused("restore.archive_broken", f"the archive is not whole: {fact}", _ANOTHER)


def read_told(text: bytes) -> dict[str, Any]:
    """What is in data.json (core/carried.py). Raises Refused where that cannot be what core/dumping.py wrote."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise broken("its data.json cannot be read") from None
    if isinstance(told, dict) and type(told.get("format")) is int and told["format"] > FORMAT:
        raise Refused(
            "restore.newer",
            f"the archive's data are of format {told['format']}, this program knows {FORMAT}",
            "`make upgrade` first, then restore",
        )
    try:
        _check(told)
    except _Other as error:
        raise broken(f"its data.json cannot be read: {error} is missing, or not what this version writes") from None
    return dict(told)


class _Other(Exception):
    """What is not as it should be, by its place."""


def _check(told: Any) -> None:
    _is(told, dict, "all of it")
    _count(told.get("format"), "format")
    if told["format"] != FORMAT:
        raise _Other("format")
    _count(told.get("schema"), "schema", least=1)
    _is(told.get("moment"), str, "moment")
    for name, each in _named(told, "collections"):
        _count(each.get("documents"), f"collections.{name}.documents", least=int(name == "schema"))
        _count(each.get("bytes"), f"collections.{name}.bytes")
        _is(each.get("sha256"), str, f"collections.{name}.sha256")
        _texts(each.get("indexes"), f"collections.{name}.indexes")
        _groups(each.get("groups"), (str,), f"collections.{name}.groups")
    if "schema" not in told["collections"]:
        raise _Other("collections.schema")
    _texts(told.get("views"), "views")
    for name, each in _named(told, "vectors"):
        _count(each.get("count"), f"vectors.{name}.count")
        _is(each.get("whole"), bool, f"vectors.{name}.whole")
        if each["whole"]:
            for part in ("sha256", "model"):
                _is(each.get(part), str, f"vectors.{name}.{part}")
            _groups(each.get("groups"), (int, float), f"vectors.{name}.groups")
    _is(told.get("probes"), list, "probes")
    for probe in told["probes"]:
        _is(probe, dict, "probes")
        for part in ("collection", "passage"):
            _is(probe.get(part), str, f"probes.{part}")
        for part in ("nearest", "words"):
            _texts(probe.get(part), f"probes.{part}")
        if not told["vectors"].get(probe["collection"], {}).get("whole"):
            raise _Other(f"vectors.{probe['collection']}")


def _is(value: Any, kind: type | tuple[type, ...], place: str) -> None:
    # True is an int to Python, and none here.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _Other(place)


def _count(value: Any, place: str, least: int = 0) -> None:
    _is(value, int, place)
    if value < least:
        raise _Other(place)


def _texts(value: Any, place: str) -> None:
    _is(value, list, place)
    for each in value:
        _is(each, str, place)


def _named(told: Mapping[str, Any], part: str) -> list[tuple[str, dict[str, Any]]]:
    _is(told.get(part), dict, part)
    for name, each in told[part].items():
        _is(each, dict, f"{part}.{name}")
    return list(told[part].items())


def _groups(value: Any, kinds: tuple[type, ...], place: str) -> None:
    """{KEY: [how many, a sum of one of these kinds]}."""
    _is(value, dict, place)
    for pair in value.values():
        _is(pair, list, place)
        if len(pair) != 2:
            raise _Other(place)
        _count(pair[0], place)
        _is(pair[1], kinds, place)
