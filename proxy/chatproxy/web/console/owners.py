"""Whose a conversation is, in words; users and visitors are known by what stands for them alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chatproxy.core.keys import Keyring
from chatproxy.core.sites import Sites

_SHOWN = 8  # characters of what stands for a person


@dataclass(frozen=True, slots=True)
class Owner:
    """`who` is a person or a key, `where` the pages that it came from ("" where it came from none)."""

    who: str
    where: str


def short(owner: str) -> str:
    """Without looking anything up: "visitor 3fa9c1d2", "user 09ab12cd", "key 3b1f"."""
    kind, _, rest = owner.partition(":")
    inner = re.search(r"/(user|visitor):(.+)", rest)
    return f"{inner[1]} {inner[2][:_SHOWN]}" if inner else f"{kind} {rest[:_SHOWN]}"


def tell(owner: str, keys: Keyring, sites: Sites) -> Owner:
    """With the names of keys, and the pages of site keys. Raises StorageUnavailable."""
    kind, _, rest = owner.partition(":")
    holder, _, person = rest.partition("/")
    if kind == "site":
        if not holder:
            return Owner(f"{short(owner)}, a visitor of this server's own page", "/chat")
        site = next((site for site in sites.all() if site.id == holder), None)
        name = f"{site.name!r} ({holder})" if site else f"{holder}, which is gone"
        return Owner(f"{short(owner)}, through the site key {name}", ", ".join(site.origins) if site else "")
    name = next((f"{key.name!r} ({key.id})" for key in keys.all() if key.id == holder), f"{holder}, which is gone")
    return Owner(f"{short(owner)} of the API key {name}" if person else f"The API key {name}", "")
