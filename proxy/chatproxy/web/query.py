"""Reading query strings: known parameters, each at most once, checked one by one; a bad one raises InvalidRequest."""

from __future__ import annotations

import re

from flask import request

from chatproxy.core.access import Caller
from chatproxy.errors import InvalidRequest
from chatproxy.web.auth import caller, identity

_LIMIT, _MOST = 50, 200
_LONGEST_USER_ID = 200  # characters


def check_known(*known: str) -> None:
    """Refuse parameters that the route does not know, and those given twice."""
    for name, values in request.args.lists():
        if name not in known:
            raise InvalidRequest(f"{name[:60]}: no such parameter; known are {', '.join(known)}")
        if len(values) > 1:
            raise InvalidRequest(f"{name}: is given {len(values)} times")


def owner() -> str:
    """Whose data the request is about: the key's holder's, or with `user_id` one of its users'."""
    user_id = request.args.get("user_id")
    return identity().owner if user_id is None else owner_of(user_id)


def owner_of(user_id: str) -> str:
    """The owner of what the key's holder stores for its user `user_id`."""
    if not 1 <= len(user_id) <= _LONGEST_USER_ID or not user_id.isprintable():
        raise InvalidRequest(f"user_id: must be 1 to {_LONGEST_USER_ID} printable characters")
    return identity().owner_of(user_id)


def asker() -> Caller:
    """For whom an answer is: the key's holder, or with `user_id` one of its users."""
    user_id = request.args.get("user_id")
    if user_id is not None:
        owner_of(user_id)
    return caller(user_id)


def paging() -> tuple[int, str | None]:
    """`limit` and `cursor`."""
    raw = request.args.get("limit", str(_LIMIT))
    if not re.fullmatch(r"[0-9]{1,4}", raw) or not 1 <= int(raw) <= _MOST:
        raise InvalidRequest(f"limit: must be a whole number from 1 to {_MOST}")
    return int(raw), request.args.get("cursor")


def flag(name: str) -> bool:
    """`true` or `false`; false where it is absent."""
    raw = request.args.get(name, "false")
    if raw not in ("true", "false"):
        raise InvalidRequest(f"{name}: must be true or false")
    return raw == "true"


def choice(name: str, *choices: str) -> str:
    """One of these words; the first where it is absent."""
    raw = request.args.get(name, choices[0])
    if raw not in choices:
        raise InvalidRequest(f"{name}: must be one of {', '.join(choices)}")
    return raw
