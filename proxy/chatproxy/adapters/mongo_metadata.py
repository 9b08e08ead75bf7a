"""Collections as mongodump describes them: NAME.metadata.json with options and indexes in canonical extended JSON.

The file's name is percent-escaped and cut as mongodump does (mongo-tools, mongodump/prepare.go), so that mongorestore
reads a dump; what counts is the name inside.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bson import json_util

from chatproxy.adapters.mongo import Document
from chatproxy.core.carried import Refused

_LONGEST = 238
_KEPT_OF_LONG = 208
# What Go's url.PathEscape leaves as it is, beside letters, digits and "_.-~".
_UNESCAPED = "$&+=:@"


@dataclass(frozen=True, slots=True)
class Described:
    """Implements core.carried_ports.Kept; `expiries` are the dotted fields after which documents are deleted, with the
    seconds to add."""

    name: str
    view: bool
    indexes: Sequence[str]
    metadata: bytes
    expiries: Sequence[tuple[Sequence[str], float]]


def described(info: Mapping[str, Any], indexes: Iterable[Mapping[str, Any]]) -> Described:
    """A collection as listCollections and listIndexes tell of it. Raises Refused for a kind that is not understood."""
    name, kind = str(info["name"]), str(info.get("type", "collection"))
    if info.get("options", {}).get("capped"):
        kind = "capped collection"  # MongoDB reads none as of a moment
    if kind not in ("collection", "view"):
        raise Refused(
            "backup.kind_unknown",
            f"{name} is a {kind}: this program makes none, and cannot back it up",
            "drop it, or move it into a database of its own, and try again",
        )
    listed = list(indexes)
    told = {
        "indexes": listed,
        "uuid": info["info"]["uuid"].hex() if "uuid" in info.get("info", {}) else "",
        "collectionName": name,
        "type": kind,
        "options": info.get("options", {}),
    }
    metadata = json_util.dumps(told, json_options=json_util.CANONICAL_JSON_OPTIONS).encode()
    return Described(name, kind == "view", sorted(str(each["name"]) for each in listed), metadata, _expiries(listed))


def read(metadata: bytes) -> Document:
    """What `described` wrote. Raises Refused."""
    try:
        told = json_util.loads(metadata.decode(), json_options=json_util.CANONICAL_JSON_OPTIONS)
        understood = all(
            isinstance(told[name], kind)
            for name, kind in (("options", dict), ("indexes", list), ("collectionName", str), ("type", str))
        )
    except (ValueError, KeyError, TypeError):
        understood = False
    if not understood:
        raise Refused("restore.archive_broken", "a collection's description cannot be read", "restore another archive")
    return dict(told)


def member(name: str) -> str:
    """A collection's name as a file's."""
    escaped = quote(name, safe=_UNESCAPED)
    if len(escaped) <= _LONGEST:
        return escaped
    # mongodump's own choice: it only makes names differ.
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).digest()
    return f"{escaped[:_KEPT_OF_LONG]}%24{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def _expiries(indexes: Iterable[Mapping[str, Any]]) -> list[tuple[Sequence[str], float]]:
    return [
        (next(iter(index["key"])).split("."), float(index["expireAfterSeconds"]))
        for index in indexes
        if "expireAfterSeconds" in index
    ]
