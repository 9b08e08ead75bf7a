"""Web origins as browsers send them in `Origin`: scheme, lower-case host, and the port where it is not the default."""

from __future__ import annotations

import re

# Hosts as URLs have them after a browser's parser: ASCII (punycode), IPv4, IPv6 in brackets.
_SHAPE = re.compile(r"(https?)://(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_DEFAULT = {"http": 80, "https": 443}
_LONGEST = 261  # characters: https://, a host of 253 at most


def is_origin(text: str) -> bool:
    """Whether a browser could send exactly this."""
    found = _SHAPE.fullmatch(text)
    if not found or len(text) > _LONGEST:
        return False
    port = found[2]
    return port is None or (port == str(int(port)) and 0 < int(port) < 65536 and int(port) != _DEFAULT[found[1]])
