"""How the values of settings are written: for each kind its words, as shown to people, and what reads it.

What reads a value raises ValueError for one that is not of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email

Kind = tuple[str, Callable[[str], Any]]


def whole(low: int, high: int) -> tuple[str, Callable[[str], int]]:
    def parse(raw: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,15}", raw) or not low <= int(raw) <= high:
            raise ValueError
        return int(raw)

    return f"a whole number from {low} to {high}", parse


def choice(*names: str) -> tuple[str, Callable[[str], str]]:
    def parse(raw: str) -> str:
        if raw not in names:
            raise ValueError
        return raw

    return "one of " + ", ".join(names), parse


def url(*schemes: str) -> tuple[str, Callable[[str], str]]:
    def parse(raw: str) -> str:
        parts = urlsplit(raw)
        if parts.scheme not in schemes or not parts.netloc:
            raise ValueError
        return raw.rstrip("/")

    return f"a URL starting with {' or '.join(s + '://' for s in schemes)}", parse


def urls(*schemes: str) -> tuple[str, Callable[[str], tuple[str, ...]]]:
    kind, parse_one = url(*schemes)

    def parse(raw: str) -> tuple[str, ...]:
        urls = tuple(parse_one(part.strip()) for part in raw.split(","))
        if len(set(urls)) < len(urls):
            raise ValueError
        return urls

    return f"{kind}, or several different ones separated by commas", parse


def origins(raw: str) -> tuple[str, ...]:
    """Origins as browsers send them: lower case, no path, not even a slash."""
    origins = tuple(origin.strip() for origin in raw.split(","))
    if not all(re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", origin) for origin in origins):
        raise ValueError
    return origins


def name(raw: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", raw):
        raise ValueError
    return raw


def host(raw: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", raw):
        raise ValueError
    return raw


def listener(raw: str) -> tuple[str, int]:
    where, _, port = raw.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError
    return host(where), int(port)


def mail_address(raw: str) -> str:
    try:
        valid = validate_email(raw, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False)
    except EmailNotValidError:
        raise ValueError from None
    return valid.ascii_email or valid.normalized


def agent(raw: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z_-]{0,39}(/[!-~]{1,20})?( \([ !-~]{1,200}\))?", raw):
        raise ValueError
    return raw


def languages(raw: str) -> str:
    if not re.fullmatch(r"[a-z]{3}(_[a-z]{2,8})?(\+[a-z]{3}(_[a-z]{2,8})?){0,19}", raw):
        raise ValueError
    return raw


def switch(raw: str) -> bool:
    if raw not in ("on", "off"):
        raise ValueError
    return raw == "on"


SWITCH = ("on or off", switch)
NAME = ("a name of letters, digits, '.', '-' and '_'", name)
TEXT = ("text", str)
HOST = ("a host name or an IPv4 address", host)
LISTENER = ("a host name or IPv4 address and a port, as 0.0.0.0:8080", listener)
MAIL_ADDRESS = ("an e-mail address without a name, as chat@example.com", mail_address)
AGENT = ("a name as chat-crawler/1.0 (+https://example.com)", agent)
LANGUAGES = ("names of languages as eng or eng+deu", languages)
PATH = ("a folder", Path)
# Limits of use; 0 = none.
REQUESTS, TOKENS, STREAMS = whole(0, 100_000), whole(0, 999_999_999), whole(0, 4096)
ORIGINS = ("a list of origins as https://lite.koboldai.net, with commas in between", origins)
FILE = ("a file", Path)
