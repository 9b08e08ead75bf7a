"""What forms give, read field by field. Every method raises InvalidRequest that names the field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import g, request

from chatproxy.errors import ChatProxyError, InvalidRequest

_LONGEST_LINES = 20_000


def given() -> dict[str, str]:
    """The current form's fields, to show them again beside what was wrong."""
    return {name: value for name, value in request.form.items() if name != "csrf"}


def text(name: str, most: int) -> str:
    """A text without white space around it; "" where there is none."""
    value = request.form.get(name, "").strip()
    if len(value) > most:
        raise InvalidRequest(f"{name}: has {len(value)} characters, at most {most} are allowed")
    return value


def needed(name: str, most: int) -> str:
    """A text that must be there."""
    value = text(name, most)
    if not value:
        raise InvalidRequest(f"{name}: is missing or empty")
    return value


def whole(name: str) -> int | None:
    """A whole number that is not negative; None where nothing is given."""
    value = text(name, 40)
    if value and not re.fullmatch(r"[0-9]{1,12}", value):
        raise InvalidRequest(f"{name}: must be a whole number, not {value!r}")
    return int(value) if value else None


def number(name: str) -> float | None:
    """A number that is not negative, as 2 or 0.5; None where nothing is given."""
    value = text(name, 40)
    if value and not re.fullmatch(r"[0-9]{1,9}([.][0-9]{1,9})?", value):
        raise InvalidRequest(f"{name}: must be a number as 2 or 0.5, not {value!r}")
    return float(value) if value else None


def lines(name: str) -> list[str]:
    """What stands in lines of its own."""
    return [line.strip() for line in text(name, _LONGEST_LINES).splitlines() if line.strip()]


def told(names: Mapping[str, Any]) -> dict[str, Any]:
    """Those that say something: what is empty in a form is not asked for."""
    return {name: value for name, value in names.items() if value not in (None, "", [])}


def wrong(error: ChatProxyError, labels: Mapping[str, str]) -> str:
    """What to tell beside the form, its field under the name that stands there. The audit gets the outcome."""
    g.outcome = error.code
    field, colon, rest = error.public.partition(": ")
    return f"{labels[field]}: {rest}" if colon and field in labels else error.public
