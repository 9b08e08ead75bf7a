"""Reading request bodies: one JSON object whose fields are checked one by one, with messages that name the field."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import RequestEntityTooLarge

from chatproxy.errors import InvalidRequest


def read_object(
    request: Request, *, known: Collection[str] | None = None, may_be_empty: bool = False
) -> dict[str, Any]:
    """The body's JSON object, whatever its Content-Type says. With `known`, other fields are refused.

    `may_be_empty`: no body at all counts as an object without fields.
    """
    data = _read(request)
    if may_be_empty and not data:
        return {}
    try:
        body = json.loads(data, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not UTF-8.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    except ValueError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if known is not None and (unknown := sorted(body.keys() - set(known))):
        raise InvalidRequest(f"{unknown[0][:60]}: no such field; known are {', '.join(sorted(known))}")
    return body


def _read(request: Request) -> bytes:
    """The whole body, at most MAX_CONTENT_LENGTH bytes of it. RequestEntityTooLarge for more."""
    try:
        data = request.get_data(cache=False)
        # Of a body that tells no length beforehand, werkzeug reads up to the limit and leaves the rest.
        cut = request.content_length is None and len(data) == request.max_content_length
        if cut and request.environ["wsgi.input"].read(1):
            raise RequestEntityTooLarge
    except ParseException:
        raise InvalidRequest("The body is not sent in proper chunks.") from None
    return data


class Fields:
    """Typed access to a body. A field that is absent or null gives the default; a wrong one raises InvalidRequest."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body

    def text(self, name: str, *, most: int, default: str | None = None) -> str | None:
        """A string of at most `most` characters."""
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise InvalidRequest(f"{name}: must be text")
        if len(value) > most:
            raise InvalidRequest(f"{name}: has {len(value)} characters, at most {most} are allowed")
        return _encodable(name, value)

    def pattern(self, name: str, pattern: str, meaning: str) -> str | None:
        """A string that `pattern` matches as a whole; `meaning` says in words what it must be."""
        value = self._body.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise InvalidRequest(f"{name}: must be {meaning}")
        return value

    def flag(self, name: str) -> bool | None:
        """true or false."""
        value = self._body.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise InvalidRequest(f"{name}: must be true or false")

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number within bounds; 80.0 counts as 80, as JavaScript clients send it."""
        value = self.number(name, low, high)
        if value is None:
            return None
        if value != int(value):
            raise InvalidRequest(f"{name}: must be a whole number")
        return int(value)

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number within bounds."""
        value = self._body.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidRequest(f"{name}: must be a number")
        if not low <= value <= high:
            raise InvalidRequest(f"{name}: must be from {low:g} to {high:g}")
        return value

    def texts(self, name: str, *, most: int, longest: int) -> tuple[str, ...]:
        """A list of at most `most` non-empty strings."""
        value = self._body.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > most:
            raise InvalidRequest(f"{name}: must be a list of at most {most} texts")
        for item in value:
            if not isinstance(item, str) or not 1 <= len(item) <= longest:
                raise InvalidRequest(f"{name}: each entry must be text of 1 to {longest} characters")
        return tuple(_encodable(name, item) for item in value)


def _encodable(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name}: holds half of a surrogate pair, which is no character") from None
    return value


def _no_constant(name: str) -> None:
    raise InvalidRequest(f"The body holds {name}, which is not JSON.")
