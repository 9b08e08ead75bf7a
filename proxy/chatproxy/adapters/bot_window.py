"""What a bot's file says about its chat window: words, languages, looks, the pages it may stand on, who takes over."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import yaml
from email_validator import EmailNotValidError, validate_email

from chatproxy.adapters.yaml_nodes import Mistake, Reader, list_of, mapping, one_of, text_up_to
from chatproxy.core.types import Theme

_MOST_REPLIES, _LONGEST_REPLY, _MOST_LANGUAGES, _MOST_ORIGINS = 8, 80, 20, 50
_LONGEST_WORD, _LONGEST_ADDRESS, _LONGEST_CONSENT = 200, 254, 2_000
# For text of ordinary size: success criterion 1.4.3 of WCAG 2.2, level AA.
_LEAST_CONTRAST = 4.5
_WHITE, _BLACK = "#ffffff", "#000000"
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A name of the DNS as it goes over the wire: what is not ASCII stands there as xn--.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def _quick_reply(field: str, node: yaml.Node) -> str:
    reply: str = text_up_to(_LONGEST_REPLY, empty=False)(field, node)
    if not reply.isprintable():
        raise Mistake(node, f"{field} is not one line of printable characters")
    return reply


def _language(field: str, node: yaml.Node) -> str:
    language: str = text_up_to(_LONGEST_WORD)(field, node)
    if not re.fullmatch(r"[a-z]{2,3}", language):
        raise Mistake(node, f"{field} is {language[:60]!r}, not a language's code as en, de, fr, es or lv")
    return language


def _theme(field: str, node: yaml.Node) -> Theme:
    if not isinstance(node, yaml.MappingNode):
        raise Mistake(node, f"{field} is not a group of fields, as 'accent: \"#0b57d0\"'")
    given = mapping(node, "a theme", tuple(_THEME))
    theme = Theme(**{name: _THEME[name](f"{field}.{name}", value) for name, value in given.items()})
    if theme.accent_text and not theme.accent:
        raise Mistake(given["accent_text"], f"{field}.accent_text is the text on {field}.accent, which is missing")
    if not theme.accent:
        return theme
    if not theme.accent_text:
        # One of the two always has 4.58:1 or more.
        text = max(_WHITE, _BLACK, key=lambda colour: contrast(theme.accent, colour))
        return Theme(theme.accent, text, theme.color_scheme, theme.position)
    has = contrast(theme.accent, theme.accent_text)
    if has < _LEAST_CONTRAST:
        pair = f"{theme.accent_text} on {theme.accent}"
        # Cut, not rounded: 4.496 must not be told as 4.5.
        told = f"{int(has * 100) / 100:.2f}:1, at least {_LEAST_CONTRAST}:1 is needed to be readable"
        raise Mistake(given["accent_text"], f"{field}.accent_text: {pair} has a contrast of {told}")
    return theme


def _colour(field: str, node: yaml.Node) -> str:
    # Without quotes it is a comment to YAML, and the field is empty.
    if isinstance(node, yaml.ScalarNode) and not node.value:
        raise Mistake(node, f'{field} is empty; a colour stands in quotes, as "#0b57d0"')
    colour: str = text_up_to(_LONGEST_WORD)(field, node)
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
        raise Mistake(node, f'{field} is {colour[:60]!r}, not a colour as "#0b57d0"')
    return colour.lower()


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours (#rrggbb), from 1 to 21, as WCAG 2.2 defines it."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance, from 0 (black) to 1 (white)."""
    red, green, blue = (_linear(int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def _origin(field: str, node: yaml.Node) -> str:
    origin: str = text_up_to(_LONGEST_WORD)(field, node)
    if not _is_origin(origin):
        needed = "scheme and lower-case host, the port only where it is not the usual one, nothing behind it"
        raise Mistake(node, f"{field} is {origin[:60]!r}, not an origin as https://example.com: {needed}")
    return origin


def _is_origin(text: str) -> bool:
    """Whether a browser sends exactly this in `Origin` (the URL standard's serialisation of an origin)."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        host = f"[{ipaddress.IPv6Address(host)}]" if ":" in host else host
    except ValueError:
        return False
    usual = port is None or port == _DEFAULT_PORTS.get(parts.scheme)
    known = parts.scheme in _DEFAULT_PORTS and (host.startswith("[") or bool(_HOST.fullmatch(host)))
    return known and port != 0 and text == f"{parts.scheme}://{host}" + ("" if usual else f":{port}")


def _address(field: str, node: yaml.Node) -> str:
    address: str = text_up_to(_LONGEST_ADDRESS)(field, node)
    try:
        return validate_email(address, check_deliverability=False, allow_smtputf8=False).ascii_email or ""
    except EmailNotValidError as error:
        raise Mistake(node, f"{field} is {address[:60]!r}, not an e-mail address: {error}") from None


_THEME: dict[str, Reader] = {
    "accent": _colour,
    "accent_text": _colour,
    "color_scheme": one_of("color_scheme", ("auto", "light", "dark")),
    "position": one_of("position", ("right", "left")),
}
FIELDS: dict[str, Reader] = {
    "quick_replies": list_of(_quick_reply, _MOST_REPLIES, "replies"),
    "languages": list_of(_language, _MOST_LANGUAGES, "languages"),
    "theme": _theme,
    "origins": list_of(_origin, _MOST_ORIGINS, "origins"),
    "handoff_email": _address,
    "consent": text_up_to(_LONGEST_CONSENT),
}
