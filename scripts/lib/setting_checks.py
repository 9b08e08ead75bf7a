"""What a setting's value may be: checks, each of which says what is wrong with a value, or None."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from scripts.lib import paths

# What a checker says about a bad value, or None for a good one.
Check = Callable[[str], "str | None"]

_UNITS = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}


def bytes_of(value: str) -> int:
    """Bytes of '512m', '1g' or '10MB' (units are powers of 1024). ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", value.strip().lower())
    if not match or match[2] not in _UNITS:
        raise ValueError(value)
    return int(float(match[1]) * _UNITS[match[2]])


def one_of(*allowed: str) -> Check:
    return lambda value: None if value in allowed else f"must be {', '.join(allowed[:-1])} or {allowed[-1]}"


def whole(least: int, most: int) -> Check:
    def check(value: str) -> str | None:
        fits = re.fullmatch(r"\d{1,9}", value) and least <= int(value) <= most
        return None if fits else f"must be a whole number from {least} to {most}"

    return check


def amount(least: int) -> Check:
    def check(value: str) -> str | None:
        try:
            fits = bytes_of(value) >= least
        except ValueError:
            fits = False
        return None if fits else f"must be a size of at least {least // 2**20} MB, as 512m or 1g"

    return check


def cpus(value: str) -> str | None:
    fits = re.fullmatch(r"\d{1,3}(\.\d+)?", value) and float(value) > 0
    return None if fits else "must be a number of CPUs, as 2 or 1.5"


def adapters(value: str) -> str | None:
    """Files in models/, several with commas, each with its scale behind a colon or without."""
    good = all(re.fullmatch(r"(models/)?[^/\s:,][^/:,]*(:-?\d+(\.\d+)?)?", part.strip()) for part in value.split(","))
    return None if good else "must be names of files in models/, each with its scale or without, as style.gguf:0.5"


def auto_or(check: Check) -> Check:
    def either(value: str) -> str | None:
        wrong = None if value == "auto" else check(value)
        return f"{wrong}, or auto" if wrong else None

    return either


def optional(check: Check) -> Check:
    return lambda value: check(value) if value else None


def matching(pattern: str, what: str) -> Check:
    return lambda value: None if re.fullmatch(pattern, value) else f"must be {what}"


def domain(value: str) -> str | None:
    if value == "localhost" or is_address(value):
        return None
    label = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
    fits = re.fullmatch(rf"{label}(\.{label})+", value) and len(value) <= 253
    return (
        None if fits else "must be localhost, an IP address, or a host name as chat.example.org (no https://, no port)"
    )


def base_url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        fits = parts.scheme in ("http", "https") and parts.hostname and not parts.query and parts.port != 0
    except ValueError:
        fits = False
    return None if fits else "must be an address as http://10.0.0.5:8000"


def base_urls(value: str) -> str | None:
    """One address, or several with commas between."""
    if any(base_url(part.strip()) for part in value.split(",")):
        return "must be an address as http://10.0.0.5:8000, or several separated by commas"
    return None


def origins(value: str) -> str | None:
    """Origins as browsers send them, and as the proxy compares them: to the letter."""
    fits = all(re.fullmatch(r"https?://[a-z0-9.-]+(:\d{1,5})?", origin.strip()) for origin in value.split(","))
    return None if fits else "must be origins as https://lite.koboldai.net, with commas in between and no slash behind"


def remote(value: str) -> str | None:
    """Where archives go off this machine: see scripts/lib/backup_remote.py."""
    tool, _, place = value.partition(":")
    good = tool in ("rclone", "restic") and place and place.isprintable() and not place.startswith("-")
    return None if good else "must be rclone:REMOTE:PATH or restic:REPOSITORY"


def model_folder(value: str) -> str | None:
    """A model of sentence-transformers, which is a folder in models/."""
    named = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value)
    return None if named and (paths.MODELS / value).is_dir() else "must be the name of a folder in models/"


def anything(value: str) -> str | None:
    return None


EMAIL = matching(r"[^@\s]+@[^@\s]+\.[^@\s]+", "an e-mail address")
# It stands in a header, within brackets.
CONTACT = matching(r"(https?://|[A-Za-z0-9._+-]+@)[A-Za-z0-9./_~%?=&:+-]{1,120}", "an e-mail address or a URL")


def is_address(host: str) -> bool:
    """True for a bare IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public_name(host: str) -> bool:
    """True for a name that a public certificate authority can certify."""
    return host != "localhost" and not is_address(host) and not host.endswith((".localhost", ".local", ".internal"))
